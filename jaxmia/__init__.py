"""jaxmia: how much does a classifier give away about the people it was trained on?

    data -> design -> train -> query -> signals -> attacks -> metrics -> report

Left of `signals` is code for one model, mapped over many by `parallel`; right of it is array-sized
work on `member [M, N]` and `signals [M, N, Q]`, for models trained with any framework.
"""
