package graph

import (
	"container/heap"
	"fmt"
	"strings"
)

// sort puts the nodes in topological order: the order they are in where it is one, otherwise the one that keeps, at each
// step, the earliest node that is ready. It fails on a cycle, naming its nodes.
func (g *Graph) sort() error {
	g.reindex()
	if g.ordered() {
		return nil
	}
	waits := make([]int, len(g.Nodes)) // predecessors not yet placed
	next := make([][]*Node, len(g.Nodes))
	ready := &nodeHeap{}
	for i, n := range g.Nodes {
		for _, p := range n.predecessors() {
			waits[i]++
			next[p.index] = append(next[p.index], n)
		}
		if waits[i] == 0 {
			heap.Push(ready, n)
		}
	}
	order := make([]*Node, 0, len(g.Nodes))
	for ready.Len() > 0 {
		n := heap.Pop(ready).(*Node)
		order = append(order, n)
		for _, s := range next[n.index] {
			if waits[s.index]--; waits[s.index] == 0 {
				heap.Push(ready, s)
			}
		}
	}
	if len(order) < len(g.Nodes) {
		return fmt.Errorf("%v has a cycle: %s", g, g.cycle(waits))
	}
	g.Nodes = order
	g.reindex()
	return nil
}

func (g *Graph) reindex() {
	for i, n := range g.Nodes {
		n.index = i
	}
}

// ordered reports whether each node comes after all that it reads.
func (g *Graph) ordered() bool {
	for _, n := range g.Nodes {
		for _, p := range n.predecessors() {
			if p.index >= n.index {
				return false
			}
		}
	}
	return true
}

// predecessors lists the nodes of the same graph that produce what n, with its subgraphs, reads; each once.
func (n *Node) predecessors() []*Node {
	var list []*Node
	seen := map[*Node]bool{}
	add := func(vs []*Value) {
		for _, v := range vs {
			if v != nil && v.Producer != nil && v.Graph == n.Graph && !seen[v.Producer] {
				seen[v.Producer] = true
				list = append(list, v.Producer)
			}
		}
	}
	add(n.Inputs)
	add(n.Captures())
	return list
}

// cycle describes one cycle among the nodes that still wait. Each of them has a predecessor that waits too, so going
// backwards must meet a node again.
func (g *Graph) cycle(waits []int) string {
	var n *Node
	for i := range waits {
		if waits[i] > 0 {
			n = g.Nodes[i]
			break
		}
	}
	at := map[*Node]int{}
	var path []*Node
	for {
		if i, ok := at[n]; ok {
			path = append(path[i:], n)
			break
		}
		at[n] = len(path)
		path = append(path, n)
		for _, p := range n.predecessors() {
			if waits[p.index] > 0 {
				n = p
				break
			}
		}
	}
	const most = 8
	var names []string
	for i := len(path) - 1; i >= 0; i-- { // in the direction of the data
		names = append(names, path[i].String())
	}
	if len(names) > most {
		names = append(names[:most-1], fmt.Sprintf("... %d more", len(names)-most), names[len(names)-1])
	}
	return strings.Join(names, " -> ")
}

// nodeHeap is a heap of nodes by position.
type nodeHeap []*Node

func (h nodeHeap) Len() int           { return len(h) }
func (h nodeHeap) Less(i, j int) bool { return h[i].index < h[j].index }
func (h nodeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *nodeHeap) Push(x any)        { *h = append(*h, x.(*Node)) }
func (h *nodeHeap) Pop() any {
	n := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return n
}
