"""Online endpoints on this machine, in the place of Azure's managed ones.

An endpoint is a process of its own, which goes on when the command that started it ends (`daemon`). It keeps one inference
server a deployment running (`deployment`, `server`) and passes requests on to them (`router`), each by its share of the
traffic (`traffic`), to who has a key (`keys`). What it is lies in a folder (`records`); commands reach it there (`link`,
`control`). Nothing here needs the Azure SDK.
"""
