package exec

import (
	"fmt"
	"sort"
	"strings"

	"github.com/obc-onnx/obc/graph"
)

// Op is one operator as it is from opset version Since on, until a later registration of the same name replaces it.
type Op struct {
	Domain string // "" for ai.onnx
	Name   string
	Since  int

	// Infer fills type and shape of the node's outputs from those of its inputs. Nil: they stay unknown.
	Infer graph.InferRule

	// Prepare checks the node's attributes and does all work that does not depend on the batch.
	Prepare func(n *graph.Node, p *Prep) (Kernel, error)

	// Native kernels take tensors as they are. For the others the executor widens inputs of the small floating-point types
	// (float16, bfloat16, float8, float4) to float32 and rounds float32 results back to that type.
	Native bool

	// Containers tells that the kernel takes inputs that are no tensors: sequences, optionals and maps. For the others they are an error.
	Containers bool
}

// Kernel computes c.Out from c.In. It must not write to its inputs.
type Kernel func(c *Call) error

type opKey struct{ domain, name string }

var registry = map[opKey][]Op{} // by ascending Since; filled by init functions only

// Register adds operators. It is called from init functions; registering the same operator and version twice panics.
func Register(ops ...Op) {
	for _, op := range ops {
		k := opKey{op.Domain, op.Name}
		list := registry[k]
		i := sort.Search(len(list), func(i int) bool { return list[i].Since >= op.Since })
		if i < len(list) && list[i].Since == op.Since {
			panic(fmt.Sprintf("exec: %s version %d registered twice", op.Name, op.Since))
		}
		list = append(list, Op{})
		copy(list[i+1:], list[i:])
		list[i] = op
		registry[k] = list
	}
}

// Lookup finds the operator as it is in the given opset version of its domain ("" or "ai.onnx" for the standard one).
func Lookup(domain, name string, version int) (Op, bool) {
	if domain == "ai.onnx" {
		domain = ""
	}
	list := registry[opKey{domain, name}]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Since <= version {
			return list[i], true
		}
	}
	return Op{}, false
}

// Registered lists all operators, by domain, name and version.
func Registered() []Op {
	var all []Op
	for _, list := range registry {
		all = append(all, list...)
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.Domain != b.Domain {
			return a.Domain < b.Domain
		}
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		return a.Since < b.Since
	})
	return all
}

// UnsupportedError lists every operator of a model that the executor does not have.
type UnsupportedError struct {
	Ops []UnsupportedOp
}

// UnsupportedOp is one missing operator and the nodes that use it.
type UnsupportedOp struct {
	Domain, Name string
	Version      int
	Nodes        []string
}

// advice says of a domain whose operators are missing what to do.
var advice = map[string]string{
	"ai.onnx.preview.training": " is not an inference operator: export the model for inference",
	"com.microsoft.nchwc":      " is for the machine that ONNX Runtime optimized the file on: save it with ORT_ENABLE_EXTENDED or less",
}

func (e *UnsupportedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d unsupported operator(s):", len(e.Ops))
	for i, op := range e.Ops {
		sep := ";"
		if i == 0 {
			sep = ""
		}
		name := op.Name
		if op.Domain != "" {
			name = op.Domain + "." + name
		}
		nodes := op.Nodes
		more := ""
		if len(nodes) > 3 {
			more = fmt.Sprintf(" and %d more", len(nodes)-3)
			nodes = nodes[:3]
		}
		fmt.Fprintf(&b, "%s %s (opset %d) at node \"%s\"%s", sep, name, op.Version, strings.Join(nodes, `", "`), more)
		if i+1 == len(e.Ops) || e.Ops[i+1].Domain != op.Domain {
			b.WriteString(advice[op.Domain])
		}
	}
	return b.String()
}

func (e *UnsupportedError) add(n *graph.Node) {
	for i := range e.Ops {
		if op := &e.Ops[i]; op.Name == n.Op() && op.Domain == n.Domain() {
			op.Nodes = append(op.Nodes, n.Name())
			return
		}
	}
	e.Ops = append(e.Ops, UnsupportedOp{n.Domain(), n.Op(), n.Opset(), []string{n.Name()}})
}
