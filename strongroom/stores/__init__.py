"""Named bytes on a medium, behind one small protocol: its backends, wrappers, and the contract they keep.

Other rooms say `open_store(url)` (`strongroom.stores.open`) and use `strongroom.stores.protocol.Store`.
"""
