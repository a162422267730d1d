"""Runs in a sandbox, by py_test; it is no test of the project's own suite."""

import socket
import unittest


class Sealed(unittest.TestCase):
    def test_sums(self) -> None:
        self.assertEqual(sum(range(10)), 45)

    def test_there_is_no_network(self) -> None:
        with self.assertRaises(OSError):
            socket.create_connection(("192.0.2.1", 80), 1)
