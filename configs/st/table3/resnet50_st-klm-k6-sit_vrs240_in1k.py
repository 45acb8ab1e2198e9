# Table 3, row 6: also validation images resized to 240 px (Vrs240).
_base_ = './resnet50_st-klm-k6-sit_in1k.py'

test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 240
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
