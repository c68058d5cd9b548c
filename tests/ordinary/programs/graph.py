"""networkx: centrality of a graph."""

import networkx as nx

graph = nx.barabasi_albert_graph(900, 3, seed=5)
central = nx.betweenness_centrality(graph)  # slowest
print(max(central, key=central.get))
