"""The software bill of materials of each environment, and the licenses in them: `make sbom` writes both.

bill       what an environment is made of (CycloneDX): environment/NAME/sbom.cdx.json
licenses   the table of all of them: docs/licenses.md

Both are committed: whoever looks at the asset, or at an image that was built of it, has them without setting up an
environment first, and a change of a pin shows as a change of what is shipped. Tests hold them to the pins.
"""
