"""The device's composition root: the only files of this room that name concrete stores, links and sockets."""
