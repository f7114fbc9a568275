package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// truth reads a boolean with one element.
func truth(x *tensor) (bool, error) {
	if x == nil {
		return false, fmt.Errorf("the condition is missing")
	}
	d, ok := x.Data.([]bool)
	if !ok || len(d) != 1 {
		return false, fmt.Errorf("condition is %v, expected one bool", x)
	}
	return d[0], nil
}

func ifKernel(c *exec.Call) error {
	if err := need(c, 1); err != nil {
		return err
	}
	cond, err := truth(c.In[0])
	if err != nil {
		return err
	}
	branch := "else_branch"
	if cond {
		branch = "then_branch"
	}
	out, err := c.Body(branch, nil)
	if err != nil {
		return err
	}
	if len(out) != len(c.Out) {
		return fmt.Errorf("%s has %d outputs, the node %d", branch, len(out), len(c.Out))
	}
	for i, y := range out {
		c.SetOut(i, y)
	}
	return nil
}

func inferIf(n *graph.Node) error {
	a, err := n.InferSubgraph("then_branch")
	if err != nil {
		return err
	}
	b, err := n.InferSubgraph("else_branch")
	if err != nil {
		return err
	}
	for i := range n.Outputs {
		if i >= len(a.Outputs) || i >= len(b.Outputs) {
			return fmt.Errorf("has %d outputs, its branches %d and %d", len(n.Outputs), len(a.Outputs), len(b.Outputs))
		}
		x, y := a.Outputs[i], b.Outputs[i]
		n.SetOut(i, x.Type, common(x.Shape, y.Shape))
	}
	return nil
}

// common keeps what two shapes agree on.
func common(a, b graph.Shape) graph.Shape {
	if len(a) != len(b) || a == nil || b == nil {
		return nil
	}
	out := a.Clone()
	for i := range out {
		if !a[i].Same(b[i]) {
			out[i] = graph.Unknown
		}
	}
	return out
}

// overhead is what a tensor takes beside its data, in bytes.
const overhead = 128

// loopKernel: inputs are the trip count (may be omitted), the first condition (may be omitted) and the carried values; the body
// takes iteration number, condition and carried values and gives condition, carried values and one slice of each scan output.
func loopKernel(c *exec.Call) error {
	trips := -1
	if x := c.Input(0); x != nil {
		n, err := scalarInt(x)
		if err != nil {
			return fmt.Errorf("trip count: %w", err)
		}
		trips = max(n, 0)
	}
	cond := true
	if x := c.Input(1); x != nil {
		var err error
		if cond, err = truth(x); err != nil {
			return err
		}
	}
	var carried []*tensor
	if len(c.In) > 2 {
		carried = append(carried, c.In[2:]...)
	}
	for i, x := range carried {
		if x == nil {
			return fmt.Errorf("input %d is missing: it is carried from round to round", i+2)
		}
	}
	body := c.BodyGraph("body")
	if body == nil {
		return fmt.Errorf("has no subgraph %q", "body")
	}
	scans := len(body.Outputs) - 1 - len(carried)
	if len(body.Inputs) != 2+len(carried) || scans < 0 || len(c.Out) > len(carried)+scans {
		return fmt.Errorf("the body has %d inputs and %d outputs, which does not fit %d carried values", len(body.Inputs), len(body.Outputs), len(carried))
	}
	collected := make([][]*tensor, scans)
	held := int64(0) // beyond the data, which the executor counts
	for i := 0; cond && (trips < 0 || i < trips); i++ {
		if err := c.Round(); err != nil {
			return err
		}
		in := append([]*tensor{onnxio.TensorOf([]int64{int64(i)}), onnxio.TensorOf([]bool{cond})}, carried...)
		out, err := c.Body("body", in)
		if err != nil {
			return err
		}
		if cond, err = truth(out[0]); err != nil {
			return err
		}
		carried = out[1 : 1+len(carried)]
		for k, y := range out[1+len(carried):] {
			collected[k] = append(collected[k], y)
			held += overhead
		}
		if err := c.Charge(held); err != nil {
			return err
		}
	}
	for i, y := range carried {
		c.SetOut(i, y)
	}
	for k, list := range collected {
		y, err := stacked(c, list, 0, body.Outputs[1+len(carried)+k])
		if err != nil {
			return err
		}
		c.SetOut(len(carried)+k, y)
	}
	return nil
}

// stacked joins slices along a new axis; with no slice at all the declared type and shape decide.
func stacked(c *exec.Call, list []*tensor, attr int, declared *graph.Value) (*tensor, error) {
	if len(list) == 0 {
		shape := []int{0}
		for _, d := range declared.Shape {
			shape = append(shape, int(max(d.N, 0)))
		}
		t := declared.Type
		if t == onnxio.Undefined {
			t = onnxio.Float32
		}
		return onnxio.NewTensor(t, shape...), nil
	}
	axis, err := axisIn(attr, len(list[0].Shape)+1)
	if err != nil {
		return nil, err
	}
	wide := make([]*tensor, len(list))
	for i, x := range list {
		if len(x.Shape) < axis {
			return nil, fmt.Errorf("scan output is %v in round %d and %v in round 0", x, i, list[0])
		}
		shape := append(append(append([]int{}, x.Shape[:axis]...), 1), x.Shape[axis:]...)
		wide[i] = c.View(x, shape...)
	}
	return concatenated(c, wide, axis)
}

func inferLoop(n *graph.Node) error {
	body := n.Subgraphs["body"]
	if body == nil || len(body.Inputs) < 2 {
		return fmt.Errorf("has no subgraph %q with at least two inputs", "body")
	}
	set := func(v *graph.Value, t onnxio.DataType, s graph.Shape) {
		if v.Type == onnxio.Undefined {
			v.Type = t
		}
		if s != nil {
			v.Shape = s
		}
	}
	set(body.Inputs[0], onnxio.Int64, graph.Shape{})
	set(body.Inputs[1], onnxio.Bool, graph.Shape{})
	for i := 2; i < min(len(n.Inputs), len(body.Inputs)); i++ {
		v := body.Inputs[i]
		if t := typeOf(n, i); t != onnxio.Undefined {
			v.Type = t
		}
		if s := shapeOf(n, i); s != nil { // it may change from round to round: what the body says holds where the first value has it
			v.Shape = common(v.Shape, s)
		}
	}
	if _, err := n.InferSubgraph("body"); err != nil {
		return err
	}
	carried := len(n.Inputs) - 2
	for i := range n.Outputs {
		if i+1 >= len(body.Outputs) {
			return fmt.Errorf("has %d outputs, its body %d", len(n.Outputs), len(body.Outputs))
		}
		v := body.Outputs[i+1]
		s := v.Shape
		if i >= carried && s != nil {
			s = append(graph.Shape{graph.Unknown}, s...)
		} else if first := shapeOf(n, i+2); first != nil {
			s = common(s, first) // there may be no round at all
		}
		n.SetOut(i, v.Type, s)
	}
	return nil
}

// scanAttrs are the directions and axes of a Scan (version 9 and later).
type scanAttrs struct {
	inputs                         int // number of scan inputs
	inDir, outDir, inAxes, outAxes []int
	batched                        bool // version 8: inputs have a leading batch axis
}

func prepareScan(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := scanAttrs{inputs: int(n.Int("num_scan_inputs", 0)), inDir: asInts(n.Ints("scan_input_directions")),
		outDir: asInts(n.Ints("scan_output_directions")), inAxes: asInts(n.Ints("scan_input_axes")),
		outAxes: asInts(n.Ints("scan_output_axes")), batched: n.Opset() < 9}
	if a.batched {
		a.inDir = asInts(n.Ints("directions"))
		return a.runBatched, nil
	}
	return func(c *exec.Call) error {
		out, err := a.run(c, c.In)
		if err != nil {
			return err
		}
		for i, y := range out {
			c.SetOut(i, y)
		}
		return nil
	}, nil
}

// run steps the body along the scan axes; in holds the states and then the scan inputs.
func (a scanAttrs) run(c *exec.Call, in []*tensor) ([]*tensor, error) {
	body := c.BodyGraph("body")
	states := len(in) - a.inputs
	if body == nil || a.inputs < 1 || states < 0 || len(body.Inputs) != len(in) || len(body.Outputs) < states {
		return nil, fmt.Errorf("num_scan_inputs is %d for %d inputs, which does not fit the body", a.inputs, len(in))
	}
	for i, x := range in {
		if x == nil {
			return nil, fmt.Errorf("input %d is missing", i)
		}
	}
	length := -1
	axes := make([]int, a.inputs)
	for k, x := range in[states:] {
		var err error
		if axes[k], err = axisIn(entry(a.inAxes, k), len(x.Shape)); err != nil {
			return nil, err
		}
		if n := x.Shape[axes[k]]; length >= 0 && n != length {
			return nil, fmt.Errorf("scan inputs have %d and %d steps", length, n)
		}
		length = x.Shape[axes[k]]
	}
	state := append([]*tensor{}, in[:states]...)
	collected := make([][]*tensor, len(body.Outputs)-states)
	for t := range length {
		if err := c.Round(); err != nil {
			return nil, err
		}
		args := append([]*tensor{}, state...)
		for k, x := range in[states:] {
			at := t
			if entry(a.inDir, k) != 0 {
				at = length - 1 - t
			}
			s := section(c, x, axes[k], at, 1)
			shape := append(append([]int{}, x.Shape[:axes[k]]...), x.Shape[axes[k]+1:]...)
			args = append(args, c.View(s, shape...))
		}
		out, err := c.Body("body", args)
		if err != nil {
			return nil, err
		}
		state = out[:states]
		for k, y := range out[states:] {
			collected[k] = append(collected[k], y)
		}
	}
	result := append([]*tensor{}, state...)
	for k, list := range collected {
		if entry(a.outDir, k) != 0 {
			for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
				list[i], list[j] = list[j], list[i]
			}
		}
		y, err := stacked(c, list, entry(a.outAxes, k), body.Outputs[states+k])
		if err != nil {
			return nil, err
		}
		result = append(result, y)
	}
	return result, nil
}

func entry(l []int, i int) int {
	if i < len(l) {
		return l[i]
	}
	return 0
}

// runBatched is version 8: input 0 is the optional sequence lengths, and everything has a batch axis in front.
func (a scanAttrs) runBatched(c *exec.Call) error {
	in := c.In[1:]
	if c.In[0] != nil {
		return fmt.Errorf("sequence_lens of Scan version 8 is not supported: raise the model's opset")
	}
	if len(in) == 0 || in[0] == nil || len(in[0].Shape) == 0 {
		return fmt.Errorf("inputs need a batch axis")
	}
	batch := in[0].Shape[0]
	if batch == 0 {
		return fmt.Errorf("input 1 has shape %v: there is no batch entry to run", in[0].Shape)
	}
	rows := make([][]*tensor, len(c.Out))
	for b := range batch {
		args := make([]*tensor, len(in))
		for i, x := range in {
			if x == nil || len(x.Shape) == 0 || x.Shape[0] != batch {
				return fmt.Errorf("input %d does not have the batch axis of the others", i+1)
			}
			args[i] = c.View(section(c, x, 0, b, 1), x.Shape[1:]...)
		}
		out, err := a.run(c, args)
		if err != nil {
			return err
		}
		for i := range rows {
			rows[i] = append(rows[i], out[i])
		}
	}
	for i, list := range rows {
		if !c.OutWanted(i) {
			continue
		}
		y, err := stacked(c, list, 0, c.Node.Outputs[i])
		if err != nil {
			return err
		}
		c.SetOut(i, y)
	}
	return nil
}

func inferScan(n *graph.Node) error {
	body := n.Subgraphs["body"]
	if body == nil {
		return fmt.Errorf("has no subgraph %q", "body")
	}
	shift := 0
	if n.Opset() < 9 {
		shift = 1
	}
	states := len(n.Inputs) - shift - int(n.Int("num_scan_inputs", 0))
	if states < 0 || len(body.Inputs) != len(n.Inputs)-shift {
		return fmt.Errorf("num_scan_inputs is %d for %d inputs, which does not fit the body", n.Int("num_scan_inputs", 0), len(n.Inputs))
	}
	batch, steps := graph.Unknown, graph.Unknown
	for i, v := range body.Inputs {
		if t := typeOf(n, i+shift); t != onnxio.Undefined {
			v.Type = t
		}
		s := shapeOf(n, i+shift)
		if shift > 0 && len(s) > 0 {
			batch, s = s[0], s[1:]
		}
		if i >= states && s != nil {
			axis, err := axisIn(entry(asInts(n.Ints("scan_input_axes")), i-states), len(s))
			if err != nil {
				return err
			}
			if steps == graph.Unknown {
				steps = s[axis]
			}
			s = append(append(graph.Shape{}, s[:axis]...), s[axis+1:]...)
		}
		if s != nil {
			v.Shape = s
		}
	}
	if _, err := n.InferSubgraph("body"); err != nil {
		return err
	}
	for i := range min(len(n.Outputs), len(body.Outputs)) {
		v := body.Outputs[i]
		s := v.Shape
		if i >= states && s != nil {
			axis, err := axisIn(entry(asInts(n.Ints("scan_output_axes")), i-states), len(s)+1)
			if err != nil {
				return err
			}
			s = append(append(append(graph.Shape{}, s[:axis]...), steps), s[axis:]...)
		}
		if shift > 0 && s != nil {
			s = append(graph.Shape{batch}, s...)
		}
		n.SetOut(i, v.Type, s)
	}
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "If", Since: 1, Infer: inferIf, Prepare: always(ifKernel), Native: true, Containers: true},
		exec.Op{Name: "Loop", Since: 1, Infer: inferLoop, Prepare: always(loopKernel), Native: true, Containers: true},
		exec.Op{Name: "Scan", Since: 8, Infer: inferScan, Prepare: prepareScan, Native: true, Containers: true},
	)
}
