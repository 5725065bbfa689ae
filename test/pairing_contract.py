# SPDX-License-Identifier: Apache-2.0
"""What every pairing of images with camera_infos does, whoever implements it."""

import pytest

from monodvps_ros.data.stamp_pairing import CAPACITY


class PairingContract:
    """What every `Pairing` does; `make` makes one."""

    make = None

    def test_pairs_whichever_comes_first(self):
        pairing = self.make()
        assert pairing.add_image(1, "image 1") == (None, 0)
        assert pairing.add_info(1, "info 1") == ("image 1", "info 1")
        assert pairing.add_info(2, "info 2") is None
        assert pairing.add_image(2, "image 2") == (("image 2", "info 2"), 0)

    def test_another_stamp_is_no_pair(self):
        pairing = self.make()
        pairing.add_image(1, "image")
        assert pairing.add_info(2, "info") is None

    def test_gives_up_the_oldest_and_counts_it(self):
        pairing = self.make()
        lost = [pairing.add_image(stamp, f"image {stamp}")[1] for stamp in range(CAPACITY + 1)]
        assert lost == [0] * CAPACITY + [1]
        assert pairing.add_info(0, "info") is None
        assert pairing.add_info(1, "info") == ("image 1", "info")

    def test_a_stamp_that_comes_twice_counts_the_first_as_lost(self):
        pairing = self.make()
        pairing.add_image(1, "first")
        assert pairing.add_image(1, "second") == (None, 1)
        assert pairing.add_info(1, "info") == ("second", "info")

    @pytest.mark.parametrize("info_first", [True, False])
    def test_a_looped_recording_pairs_in_every_loop(self, info_first):
        pairing = self.make()
        for _ in range(3):
            pairs = 0
            for stamp in range(10):
                if info_first:
                    pairing.add_info(stamp, "info")
                pair, lost = pairing.add_image(stamp, "image")
                if not info_first:
                    pair = pairing.add_info(stamp, "info")
                pairs += pair == ("image", "info")
                assert lost == 0
            assert pairs == 10

    def test_a_jump_back_gives_up_what_that_side_holds(self):
        pairing = self.make()
        pairing.add_image(5, "old")
        pairing.add_info(6, "old info")
        assert pairing.add_image(1, "new") == (None, 1)
        assert pairing.add_info(1, "info") == ("new", "info")
        assert pairing.add_image(6, "image") == (None, 0)
        assert pairing.add_info(5, "info") is None

    def test_clearing_counts_the_images_that_waited(self):
        pairing = self.make()
        pairing.add_image(1, "image")
        assert pairing.clear_images() == 1
        assert pairing.add_info(1, "info") is None
