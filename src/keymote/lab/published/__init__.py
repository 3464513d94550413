"""The schemes exactly as their papers print them: for attacks and comparison, never for anybody's keys.

Nothing outside `keymote.lab` may import this room, no configuration names it, and nothing in it checks what it receives:
that is what it is here to show.
"""
