"""The methods, a file each, with their equations. In these

    s, t        an image of the source and of the target; l, u: a labelled and an unlabelled one
    f, z, p     features, logits and softmax(z) of what stands behind them as an index; y: its label
    CE, H, KL   cross-entropy, the mean over a batch; entropy; divergence of the second from the first
    mean, sum   over a batch where nothing else is said; |x|: the root of the sum of squares
    stop(x)     x, through which no gradient goes; reverse(x, a): x, whose gradient is multiplied by -a
    t           the share of the run that is done, in a(t), r(t), exp(-alpha t)
    [a = b]     1 where it holds, else 0
    w ~ ...     is in proportion to; x ~ N, U, Beta: is drawn from

and a name such as `weight` is the hyper-parameter of that name. Of a knowledge graph h, r and t are head, relation and
tail.
"""
