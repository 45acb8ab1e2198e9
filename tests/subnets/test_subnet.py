"""What a subnet says of itself."""

import pytest

from mmst.subnets import Path, Subnet

BOTH, SHORTCUT, BRANCH = Path.BOTH, Path.SHORTCUT, Path.BRANCH


@pytest.mark.parametrize(
    'paths, size, depths, ordered, text',
    [
        (((BOTH, SHORTCUT), (BOTH, BOTH)), None, (1, 2), True, '1-2'),
        (((BOTH, SHORTCUT), (BOTH, BOTH)), 96, (1, 2), True, '1-2 at 96 px'),
        (((BOTH,),), 0.43, (1,), True, '1 at 0.430 of the input'),
        (
            ((BOTH, SHORTCUT, BOTH), (BOTH,)),
            None,
            (2, 1),
            False,
            '2-1 (+.+ +)',
        ),
        (
            ((BRANCH, SHORTCUT), (SHORTCUT, BOTH)),
            8,
            (1, 1),
            False,
            '1-1 (|. .+) at 8 px',
        ),
        (((BRANCH, BRANCH),), None, (2,), False, '2 (||)'),
    ],
)
def test_depths_order_and_text(paths, size, depths, ordered, text):
    subnet = Subnet(paths, size)
    assert subnet.depths == depths
    assert subnet.is_ordered is ordered
    assert str(subnet) == text


def test_ordered():
    assert Subnet.ordered((1, 3), (2, 3), 64) == Subnet(
        ((BOTH, SHORTCUT), (BOTH, BOTH, BOTH)), 64
    )
