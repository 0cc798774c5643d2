"""One set of claims about the API server, the kubelet and the scheduler of DRA.

`make test` tries them on the fake ones, `make fidelity API=dra` on those of the cluster in KUBECONFIG. What an API
server is asked is in `bad_slices.py`, `bad_claims.py` and `questions.py`, and what a real one answered in
`answers.json`: the same question has to bring the same answer. What kubelets and schedulers do is in the other tests,
each on a `node.py` with `driver.py` on it.
"""
