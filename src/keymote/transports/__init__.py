"""Links and services over real sockets; one home folder per third-party library."""
