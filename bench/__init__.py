"""Side by side with the peers, in one run, on this machine.

Law: a figure is a ratio of medians whose contestants took turns, each turn's success checked. A module of this
package measures one subject and has `measure(context) -> list[Figure]`; it raises `Unavailable` to say why it
cannot. Absolute times belong to the machine and the hour; read the ratios.
"""
