"""A fleet on a bad network: devices by the thousand at two operators, over a relay that loses, repeats and reorders.

`plan` says who there is and who talks with whom, `relay` is the bad network, `street` hosts devices, `processes` starts
everything, `measure` runs it and makes metrics of it. Relay and streets are processes of their own (`python -m`).
"""
