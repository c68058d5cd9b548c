"""Pillow: pictures are made smaller and blurred."""

from PIL import Image, ImageFilter

picture = Image.effect_noise((3_000, 2_000), 60).convert("RGB")
small = []
for number in range(8):
    blurred = picture.filter(ImageFilter.GaussianBlur(4 + number))  # slowest
    small.append(blurred.resize((300, 200)))
print(len(small))
