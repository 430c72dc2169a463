# SPDX-License-Identifier: Apache-2.0
"""The 65 classes of Mapillary Vistas v1.2 that are scored; category_id is their place plus one."""

from .class_table import parse_class_table

LABELS = parse_class_table("""
1 thing a52a2a bird
2 thing 00c000 ground animal
3 stuff c4c4c4 curb
4 stuff be9999 fence
5 stuff b4a5b4 guard rail
6 stuff 5a7896 barrier
7 stuff 66669c wall
8 stuff 8040ff bike lane
9 thing 8c8cc8 crosswalk - plain
10 stuff aaaaaa curb cut
11 stuff faaaa0 parking
12 stuff 606060 pedestrian area
13 stuff e6968c rail track
14 stuff 804080 road
15 stuff 6e6e6e service lane
16 stuff f423e8 sidewalk
17 stuff 966464 bridge
18 stuff 464646 building
19 stuff 96785a tunnel
20 thing dc143c person
21 thing ff0000 bicyclist
22 thing ff0064 motorcyclist
23 thing ff00c8 other rider
24 thing c88080 lane marking - crosswalk
25 stuff ffffff lane marking - general
26 stuff 40aa40 mountain
27 stuff e6a032 sand
28 stuff 4682b4 sky
29 stuff beffff snow
30 stuff 98fb98 terrain
31 stuff 6b8e23 vegetation
32 stuff 00aa1e water
33 thing ffff80 banner
34 thing fa001e bench
35 thing 648cb4 bike rack
36 thing dcdcdc billboard
37 thing dc8080 catch basin
38 thing de2828 cctv camera
39 thing 64aa1e fire hydrant
40 thing 282828 junction box
41 thing 212121 mailbox
42 thing 6480a0 manhole
43 thing 8e0000 phone booth
44 stuff 466496 pothole
45 thing d2aa64 street light
46 thing 999999 pole
47 thing 808080 traffic sign frame
48 thing 000050 utility pole
49 thing faaa1e traffic light
50 thing c0c0c0 traffic sign (back)
51 thing dcdc00 traffic sign (front)
52 thing 8c8c14 trash can
53 thing 770b20 bicycle
54 thing 9600ff boat
55 thing 003c64 bus
56 thing 00008e car
57 thing 00005a caravan
58 thing 0000e6 motorcycle
59 stuff 005064 on rails
60 thing 804040 other vehicle
61 thing 00006e trailer
62 thing 000046 truck
63 thing 0000c0 wheeled slow
64 stuff 202020 car mount
65 stuff 780a0a ego vehicle
""")
