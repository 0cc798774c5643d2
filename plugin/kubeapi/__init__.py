"""A client of a Kubernetes API server: asyncio, plain dicts, so that fields nobody here knows survive.

resources     what the server keeps, and the paths to it
errors        what can go wrong, by what a caller would do about it
access        where a server is and who we are: a value
kubeconfig    access from kubeconfig files, as kubectl reads them
incluster     access from a pod's service account
credentials   tokens and certificates that are renewed while they are used
client        get, list, create, update, patch, delete: with back-off, in lanes of connections
follow        a list that is kept up to date by a watch
pod_exec      a command in a container, its three pipes and how it ended

Importing it loads nothing; `client` and `follow` load aiohttp (extras `dra` and `fleet`).
"""
