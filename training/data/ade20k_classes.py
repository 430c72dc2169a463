# SPDX-License-Identifier: Apache-2.0
"""The 150 classes of ADE20K's scene parsing; of the names it gives a class, the first."""

from .class_table import parse_class_table

LABELS = parse_class_table("""
0 stuff 787878 wall
1 stuff b47878 building
2 stuff 06e6e6 sky
3 stuff 503232 floor
4 stuff 04c803 tree
5 stuff 787850 ceiling
6 stuff 8c8c8c road
7 thing cc05ff bed
8 thing e6e6e6 window
9 stuff 04fa07 grass
10 thing e005ff cabinet
11 stuff ebff07 sidewalk
12 thing 96053d person
13 stuff 787846 earth
14 thing 08ff33 door
15 thing ff0652 table
16 stuff 8fff8c mountain
17 stuff ccff04 plant
18 thing ff3307 curtain
19 thing cc4603 chair
20 thing 0066c8 car
21 stuff 3de6fa water
22 thing ff0633 painting
23 thing 0b66ff sofa
24 thing ff0747 shelf
25 stuff ff09e0 house
26 stuff 0907e6 sea
27 thing dcdcdc mirror
28 stuff ff095c rug
29 stuff 7009ff field
30 thing 08ffd6 armchair
31 thing 07ffe0 seat
32 thing ffb806 fence
33 thing 0aff47 desk
34 stuff ff290a rock
35 thing 07ffff wardrobe
36 thing e0ff08 lamp
37 thing 6608ff tub
38 thing ff3d06 rail
39 thing ffc207 cushion
40 stuff ff7a08 base
41 thing 00ff14 box
42 thing ff0829 column
43 thing ff0599 signboard
44 thing 0633ff chest of drawers
45 thing eb0cff counter
46 stuff a09614 sand
47 thing 00a3ff sink
48 stuff 8c8c8c skyscraper
49 thing fa0a0f fireplace
50 thing 14ff00 refrigerator
51 stuff 1fff00 grandstand
52 stuff ff1f00 path
53 thing ffe000 stairs
54 stuff 99ff00 runway
55 thing 0000ff case
56 thing ff4700 pool table
57 thing 00ebff pillow
58 thing 00adff screen door
59 stuff 1f00ff stairway
60 stuff 0bc8c8 river
61 stuff ff5200 bridge
62 thing 00fff5 bookcase
63 stuff 003dff blind
64 thing 00ff70 coffee table
65 thing 00ff85 toilet
66 thing ff0000 flower
67 thing ffa300 book
68 stuff ff6600 hill
69 thing c2ff00 bench
70 thing 008fff countertop
71 thing 33ff00 stove
72 thing 0052ff palm
73 thing 00ff29 kitchen island
74 thing 00ffad computer
75 thing 0a00ff swivel chair
76 thing adff00 boat
77 stuff 00ff99 bar
78 thing ff5c00 arcade machine
79 stuff ff00ff hovel
80 thing ff00f5 bus
81 thing ff0066 towel
82 thing ffad00 light
83 thing ff0014 truck
84 stuff ffb8b8 tower
85 thing 001fff chandelier
86 thing 00ff3d awning
87 thing 0047ff street lamp
88 thing ff00cc booth
89 thing 00ffc2 tv
90 thing 00ff52 plane
91 stuff 000aff dirt track
92 thing 0070ff clothes
93 thing 3300ff pole
94 stuff 00c2ff land
95 thing 007aff bannister
96 stuff 00ffa3 escalator
97 thing ff9900 ottoman
98 thing 00ff0a bottle
99 stuff ff7000 buffet
100 stuff 8fff00 poster
101 stuff 5200ff stage
102 thing a3ff00 van
103 thing ffeb00 ship
104 thing 08b8aa fountain
105 stuff 8500ff conveyer belt
106 stuff 00ff5c canopy
107 thing b800ff washer
108 thing ff001f plaything
109 stuff 00b8ff pool
110 thing 00d6ff stool
111 thing ff0070 barrel
112 thing 5cff00 basket
113 stuff 00e0ff falls
114 stuff 70e0ff tent
115 thing 46b8a0 bag
116 thing a300ff minibike
117 stuff 9900ff cradle
118 thing 47ff00 oven
119 thing ff00a3 ball
120 thing ffcc00 food
121 thing ff008f step
122 stuff 00ffeb tank
123 thing 85ff00 trade name
124 thing ff00eb microwave
125 thing f500ff pot
126 thing ff007a animal
127 thing fff500 bicycle
128 stuff 0abed4 lake
129 thing d6ff00 dishwasher
130 thing 00ccff screen
131 stuff 1400ff blanket
132 thing ffff00 sculpture
133 thing 0099ff hood
134 thing 0029ff sconce
135 thing 00ffcc vase
136 thing 2900ff traffic light
137 thing 29ff00 tray
138 thing ad00ff trash can
139 thing 00f5ff fan
140 stuff 4700ff pier
141 stuff 7a00ff crt screen
142 thing 00ffb8 plate
143 thing 005cff monitor
144 thing b8ff00 bulletin board
145 stuff 0085ff shower
146 thing ffd600 radiator
147 thing 19c2c2 glass
148 thing 66ff00 clock
149 thing 5c00ff flag
""")
