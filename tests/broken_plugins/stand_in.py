"""`python -I -S stand_in.py SOCKET NAME STATE` has a plugin forked (`forks`), and stands for its process.

It hands on signals and ends as the plugin does; killed, it takes the plugin along. It loads as good as nothing.
"""

import _signal
import _socket
import os
import sys

path, name, state = sys.argv[1:]
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
server.connect(path)
request = "\0".join((name, os.environ["PLUGIN_DIR"], state)).encode()
output = (1).to_bytes(4, sys.byteorder)
server.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, output)])
plugin = int(server.recv(64))


def hand_on(number: int, _: object) -> None:
    try:  # noqa: SIM105 - contextlib takes longer to load than all the rest
        os.kill(plugin, number)
    except ProcessLookupError:
        pass  # it has just ended


for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
    _signal.signal(number, hand_on)

status = int(server.recv(64))
if os.WIFSIGNALED(status):
    _signal.signal(os.WTERMSIG(status), _signal.SIG_DFL)
    os.kill(os.getpid(), os.WTERMSIG(status))
os._exit(os.WEXITSTATUS(status))
