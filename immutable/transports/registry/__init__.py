"""``docker://HOST[:PORT]/NAME[:TAG][@DIGEST]``: registries, by the OCI distribution-spec 1.1.

From the bottom up: `origins` says where a request may go and whom to trust, `challenge`,
`credentials` and `auth` who we are, `connections` carries one request, `session` one exchange
with its redirects and its login, `downloads` and `uploads` a blob however often the line
breaks, `client` is the verbs of the standard, `pushing` puts a whole image in its order,
`tagging` names it, and `transport` makes of it what images are copied from and to.
"""
