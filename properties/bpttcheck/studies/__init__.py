"""The chapter as measurements: how gradients travel, remedies for explosions, the strategies compared on a text."""
