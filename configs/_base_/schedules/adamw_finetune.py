# Tables 6, 8 and 10: instead of the toolbox's SGD.
adamw = dict(type='AdamW', lr=1e-4, weight_decay=0.1)
