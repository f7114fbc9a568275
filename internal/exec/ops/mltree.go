package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// ensemble is a set of decision trees whose leaves vote for targets.
type ensemble struct {
	roots     []int
	nodes     []treeNode
	votes     [][]vote // by leaf
	targets   int
	aggregate string // SUM, AVERAGE, MIN or MAX over the trees
	base      []float64
	post      func(row []float64)
}

// treeNode sends a sample to one of two branches. A branch >= 0 is a node, others are leaf -1-branch.
type treeNode struct {
	mode        uint8 // 0 to 5: <=, <, >=, >, ==, !=; 6: one of members
	feature     int
	split       float64
	yes, no     int
	missingTrue bool // what a sample without the feature (NaN) does
	members     map[float64]bool
}

type vote struct {
	target int
	weight float64
}

func (t treeNode) holds(v float64) bool {
	if v != v {
		return t.missingTrue
	}
	switch t.mode {
	case 0:
		return v <= t.split
	case 1:
		return v < t.split
	case 2:
		return v >= t.split
	case 3:
		return v > t.split
	case 4:
		return v == t.split
	case 5:
		return v != t.split
	}
	return t.members[v]
}

// leaf walks a tree. A walk longer than there are nodes is a cycle.
func (e ensemble) leaf(root int, x []float64) (int, error) {
	at := root
	for range len(e.nodes) + 1 {
		if at < 0 {
			return -1 - at, nil
		}
		n := e.nodes[at]
		at = n.no
		if n.holds(x[n.feature]) {
			at = n.yes
		}
	}
	return 0, fmt.Errorf("the tree at node %d has a cycle", root)
}

// score fills a row of target scores for one sample.
func (e ensemble) score(row, x []float64) error {
	seen := make([]bool, len(row))
	for _, root := range e.roots {
		l, err := e.leaf(root, x)
		if err != nil {
			return err
		}
		for _, v := range e.votes[l] {
			switch {
			case !seen[v.target] || e.aggregate == "SUM" || e.aggregate == "AVERAGE":
				row[v.target] += v.weight
			case e.aggregate == "MIN":
				row[v.target] = math.Min(row[v.target], v.weight)
			default:
				row[v.target] = math.Max(row[v.target], v.weight)
			}
			seen[v.target] = true
		}
	}
	for i := range row {
		if e.aggregate == "AVERAGE" {
			row[i] /= float64(max(len(e.roots), 1))
		}
		if len(e.base) > 0 {
			row[i] += e.base[i]
		}
	}
	e.post(row)
	return nil
}

// check makes sure that every index points somewhere.
func (e ensemble) check() error {
	for i, n := range e.nodes {
		for _, b := range []int{n.yes, n.no} {
			if b >= len(e.nodes) || -1-b >= len(e.votes) {
				return fmt.Errorf("branch of tree node %d leads nowhere", i)
			}
		}
		if n.feature < 0 || n.mode > 6 {
			return fmt.Errorf("tree node %d has feature %d and mode %d", i, n.feature, n.mode)
		}
	}
	for _, r := range e.roots {
		if r >= len(e.nodes) || -1-r >= len(e.votes) {
			return fmt.Errorf("tree root %d does not exist", r)
		}
	}
	for _, list := range e.votes {
		for _, v := range list {
			if v.target < 0 || v.target >= e.targets {
				return fmt.Errorf("a leaf votes for target %d of %d", v.target, e.targets)
			}
		}
	}
	if len(e.base) > 0 && len(e.base) != e.targets {
		return fmt.Errorf("%d base values for %d targets", len(e.base), e.targets)
	}
	return nil
}

// features is how many features the trees ask for.
func (e ensemble) features() int {
	most := 0
	for _, n := range e.nodes {
		most = max(most, n.feature+1)
	}
	return most
}

func (e ensemble) kernel(to onnxio.DataType) exec.Kernel {
	features := e.features()
	return func(c *exec.Call) error {
		x, rows, width, err := samples(c)
		if err != nil {
			return err
		}
		if width < features {
			return fmt.Errorf("samples have %d features, the trees ask for %d", width, features)
		}
		t := to
		if t == onnxio.Undefined {
			t = c.In[0].Type
		}
		out := make([]float64, rows*e.targets)
		for r := range rows {
			if err := e.score(out[r*e.targets:(r+1)*e.targets], x[r*width:(r+1)*width]); err != nil {
				return err
			}
		}
		y := c.New(t, rows, e.targets)
		c.Out[0] = y
		return store(y, out)
	}
}

// prepareTreeEnsemble reads the form of version 5: nodes and leaves in lists of their own.
func prepareTreeEnsemble(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	e := ensemble{roots: asInts(n.Ints("tree_roots")), targets: int(n.Int("n_targets", 1))}
	var err error
	if e.aggregate, err = choice(n, "aggregate_function", 1, "AVERAGE", "SUM", "MIN", "MAX"); err != nil {
		return nil, err
	}
	post, err := choice(n, "post_transform", 0, "NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
	if err != nil {
		return nil, err
	}
	if e.post, err = postTransformOf(post); err != nil {
		return nil, err
	}
	lists := map[string][]float64{}
	for _, name := range []string{"nodes_splits", "nodes_modes", "leaf_weights", "membership_values"} {
		if !n.HasAttr(name) {
			continue
		}
		x, err := n.Tensor(name)
		if err != nil {
			return nil, err
		}
		if lists[name], err = floats(x); err != nil {
			return nil, err
		}
	}
	targets := n.Ints("leaf_targetids")
	if len(targets) != len(lists["leaf_weights"]) {
		return nil, fmt.Errorf("%d leaf_weights for %d leaf_targetids", len(lists["leaf_weights"]), len(targets))
	}
	for i, w := range lists["leaf_weights"] {
		e.votes = append(e.votes, []vote{{int(targets[i]), w}})
	}
	if e.nodes, err = treeNodes(n, lists); err != nil {
		return nil, err
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	return e.kernel(onnxio.Undefined), nil
}

// choice is an attribute that counts through names.
func choice(n *graph.Node, attr string, def int64, names ...string) (string, error) {
	k := n.Int(attr, def)
	if k < 0 || int(k) >= len(names) {
		return "", fmt.Errorf("attribute %s is %d, expected 0 to %d", attr, k, len(names)-1)
	}
	return names[k], nil
}

func treeNodes(n *graph.Node, lists map[string][]float64) ([]treeNode, error) {
	features, tracks := n.Ints("nodes_featureids"), n.Ints("nodes_missing_value_tracks_true")
	yes, no, yesLeaf, noLeaf := n.Ints("nodes_truenodeids"), n.Ints("nodes_falsenodeids"), n.Ints("nodes_trueleafs"), n.Ints("nodes_falseleafs")
	modes, splits, members := lists["nodes_modes"], lists["nodes_splits"], lists["membership_values"]
	count := len(features)
	for name, have := range map[string]int{"nodes_truenodeids": len(yes), "nodes_falsenodeids": len(no), "nodes_trueleafs": len(yesLeaf),
		"nodes_falseleafs": len(noLeaf), "nodes_modes": len(modes), "nodes_splits": len(splits)} {
		if have != count {
			return nil, fmt.Errorf("attribute %s has %d entries for %d nodes", name, have, count)
		}
	}
	branch := func(at, leaf int64) int {
		if leaf != 0 {
			return -1 - int(at)
		}
		return int(at)
	}
	var out []treeNode
	for i := range count {
		if yes[i] < 0 || no[i] < 0 {
			return nil, fmt.Errorf("tree node %d has a negative branch", i)
		}
		t := treeNode{mode: uint8(modes[i]), feature: int(features[i]), split: splits[i], yes: branch(yes[i], yesLeaf[i]), no: branch(no[i], noLeaf[i]),
			missingTrue: i < len(tracks) && tracks[i] != 0}
		if t.mode == 6 {
			t.members = map[float64]bool{}
			for len(members) > 0 && members[0] == members[0] {
				t.members[members[0]] = true
				members = members[1:]
			}
			if len(members) > 0 { // the NaN that ends a set
				members = members[1:]
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// floatsOf is a list attribute of floats, or the tensor that takes its place for doubles.
func floatsOf(n *graph.Node, name string) ([]float64, error) {
	if n.HasAttr(name + "_as_tensor") {
		x, err := n.Tensor(name + "_as_tensor")
		if err != nil {
			return nil, err
		}
		return floats(x)
	}
	var out []float64
	for _, v := range n.Floats(name) {
		out = append(out, float64(v))
	}
	return out, nil
}

// prepareTreeRegressor reads the older form: nodes have a tree and a number in it, leaves are nodes, and votes name them.
func prepareTreeRegressor(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	e := ensemble{targets: int(n.Int("n_targets", 1)), aggregate: n.Str("aggregate_function", "SUM")}
	if e.aggregate != "SUM" && e.aggregate != "AVERAGE" && e.aggregate != "MIN" && e.aggregate != "MAX" {
		return nil, fmt.Errorf("attribute aggregate_function is %q, expected SUM, AVERAGE, MIN or MAX", e.aggregate)
	}
	var err error
	if e.post, err = postTransformOf(n.Str("post_transform", "NONE")); err != nil {
		return nil, err
	}
	if e.base, err = floatsOf(n, "base_values"); err != nil {
		return nil, err
	}
	if err := e.readOld(n, "target"); err != nil {
		return nil, err
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	return e.kernel(onnxio.Float32), nil
}

var treeModes = map[string]uint8{"BRANCH_LEQ": 0, "BRANCH_LT": 1, "BRANCH_GTE": 2, "BRANCH_GT": 3, "BRANCH_EQ": 4, "BRANCH_NEQ": 5}

// readOld fills nodes, votes and roots; votes are the attributes PREFIX_ids and so on.
func (e *ensemble) readOld(n *graph.Node, prefix string) error {
	trees, ids, modes := n.Ints("nodes_treeids"), n.Ints("nodes_nodeids"), n.Strings("nodes_modes")
	features, yes, no := n.Ints("nodes_featureids"), n.Ints("nodes_truenodeids"), n.Ints("nodes_falsenodeids")
	tracks := n.Ints("nodes_missing_value_tracks_true")
	splits, err := floatsOf(n, "nodes_values")
	if err != nil {
		return err
	}
	count := len(ids)
	if len(trees) != count || len(modes) != count || len(features) != count || len(yes) != count || len(no) != count || len(splits) != count {
		return fmt.Errorf("the attributes nodes_* have different lengths")
	}
	type key struct{ tree, id int64 }
	where := map[key]int{} // node, or -1-leaf
	for i := range count {
		k := key{trees[i], ids[i]}
		if _, twice := where[k]; twice {
			return fmt.Errorf("node %d of tree %d comes twice", ids[i], trees[i])
		}
		if modes[i] == "LEAF" {
			where[k] = -1 - len(e.votes)
			e.votes = append(e.votes, nil)
		} else {
			where[k] = len(e.nodes)
			mode, ok := treeModes[modes[i]]
			if !ok {
				return fmt.Errorf("node mode %q is not known", modes[i])
			}
			e.nodes = append(e.nodes, treeNode{mode: mode, feature: int(features[i]), split: splits[i], missingTrue: i < len(tracks) && tracks[i] != 0})
		}
		if i == 0 || trees[i] != trees[i-1] {
			e.roots = append(e.roots, where[k])
		}
	}
	for i := range count {
		at := where[key{trees[i], ids[i]}]
		if at < 0 {
			continue
		}
		a, ok1 := where[key{trees[i], yes[i]}]
		b, ok2 := where[key{trees[i], no[i]}]
		if !ok1 || !ok2 {
			return fmt.Errorf("a branch of node %d of tree %d leads nowhere", ids[i], trees[i])
		}
		e.nodes[at].yes, e.nodes[at].no = a, b
	}
	vt, vn, vi := n.Ints(prefix+"_treeids"), n.Ints(prefix+"_nodeids"), n.Ints(prefix+"_ids")
	weights, err := floatsOf(n, prefix+"_weights")
	if err != nil {
		return err
	}
	if len(vt) != len(vn) || len(vi) != len(vn) || len(weights) != len(vn) {
		return fmt.Errorf("the attributes %s_* have different lengths", prefix)
	}
	for i := range vn {
		at, ok := where[key{vt[i], vn[i]}]
		if !ok || at >= 0 {
			return fmt.Errorf("%s %d is not at a leaf", prefix, i)
		}
		e.votes[-1-at] = append(e.votes[-1-at], vote{int(vi[i]), weights[i]})
	}
	return nil
}

func inferTrees(t onnxio.DataType) graph.InferRule {
	return func(n *graph.Node) error {
		to := t
		if to == onnxio.Undefined {
			to = typeOf(n, 0)
		}
		out := graph.Shape{graph.Unknown, graph.D(n.Int("n_targets", 1))}
		if s := shapeOf(n, 0); len(s) == 2 {
			out[0] = s[0]
		}
		n.SetOut(0, to, out)
		return nil
	}
}

func init() {
	exec.Register(
		exec.Op{Domain: domainML, Name: "TreeEnsemble", Since: 5, Infer: inferTrees(0), Prepare: prepareTreeEnsemble, Native: true},
		exec.Op{Domain: domainML, Name: "TreeEnsembleRegressor", Since: 1, Infer: inferTrees(onnxio.Float32), Prepare: prepareTreeRegressor, Native: true},
	)
}
