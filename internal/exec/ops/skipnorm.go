package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// prepareSkipNorm: y = norm(x + skip + bias) over the last axis; output 3 is the sum. With rms the mean is not subtracted, and
// there is no beta among the inputs (x, skip, gamma, beta, bias).
func prepareSkipNorm(rms bool) func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		eps := float64(n.Float("epsilon", 1e-12))
		k := floatForms(
			func(c *exec.Call) error { return skipNorm[float32](c, eps, rms) },
			func(c *exec.Call) error { return skipNorm[float64](c, eps, rms) })
		return func(c *exec.Call) error {
			if err := need(c, 3); err != nil {
				return err
			}
			if err := sameType(c, 0, 5); err != nil {
				return err
			}
			return k(c)
		}, nil
	}
}

func skipNorm[T float](c *exec.Call, eps float64, rms bool) error {
	x, skip, gamma := c.In[0], c.In[1], c.In[2]
	beta, bias := c.Input(3), c.Input(4)
	if rms {
		beta, bias = nil, beta
	}
	rank := len(x.Shape)
	if rank == 0 {
		return fmt.Errorf("input is a scalar")
	}
	if s, err := broadcast(skip.Shape, x.Shape); err != nil || size(s) != x.Len() {
		return fmt.Errorf("skip has shape %v, which does not broadcast to %v", skip.Shape, x.Shape)
	}
	sum := c.New(x.Type, x.Shape...)
	binaryInto(c, data[T](sum), data[T](x), data[T](skip), x.Shape, x.Shape, skip.Shape, addRows[T])
	if bias != nil {
		if len(bias.Shape) != 1 || bias.Shape[0] != x.Shape[rank-1] {
			return fmt.Errorf("bias has shape %v for an input of shape %v", bias.Shape, x.Shape)
		}
		binaryInto(c, data[T](sum), data[T](sum), data[T](bias), x.Shape, x.Shape, bias.Shape, addRows[T])
	}
	c.KeepInputs()
	c.In = []*tensor{sum, gamma, beta}
	if err := layerNorm[T](c, -1, eps, rms); err != nil {
		return err
	}
	c.SetOut(3, sum)
	return nil
}

func inferSkipNorm(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), shapeOf(n, 0).Clone())
	n.SetOut(3, typeOf(n, 0), shapeOf(n, 0).Clone())
	if s := shapeOf(n, 0).Clone(); len(s) > 0 {
		s[len(s)-1] = graph.D(1)
		n.SetOut(1, onnxio.Float32, s)
		n.SetOut(2, onnxio.Float32, s)
	}
	return nil
}

// prepareEmbedNorm: y = LayerNorm(word[ids] + position[at] + segment[segments]). Inputs: ids, segments, the three tables, gamma,
// beta, mask, positions. Output 1 counts the ones of each row of the mask, output 2 is the sum.
func prepareEmbedNorm(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	eps := float64(n.Float("epsilon", 1e-12))
	k := by(2, typed{
		onnxio.Float32: func(c *exec.Call) error { return embedNorm[float32](c, eps) },
		onnxio.Float64: func(c *exec.Call) error { return embedNorm[float64](c, eps) },
	})
	return func(c *exec.Call) error {
		for _, i := range []int{0, 2, 3, 5, 6} {
			if c.Input(i) == nil {
				return fmt.Errorf("input %d is missing", i)
			}
			if i > 2 && c.In[i].Type != c.In[2].Type {
				return fmt.Errorf("input %d is %v, but input 2 is %v: they must agree", i, c.In[i].Type, c.In[2].Type)
			}
		}
		return k(c)
	}, nil
}

func embedNorm[T float](c *exec.Call, eps float64) error {
	ids := c.In[0]
	if len(ids.Shape) != 2 {
		return fmt.Errorf("input ids has shape %v, expected [batch sequence]", ids.Shape)
	}
	batch, seq := ids.Shape[0], ids.Shape[1]
	word := c.In[2]
	if len(word.Shape) != 2 {
		return fmt.Errorf("word embedding has shape %v, expected a matrix", word.Shape)
	}
	width := word.Shape[1]
	sum := c.Zeros(word.Type, batch, seq, width)
	if err := addRowsOf(data[T](sum), word, width, ids, batch*seq); err != nil {
		return fmt.Errorf("word embedding: %w", err)
	}
	at := c.Input(8)
	if at == nil {
		at = onnxio.NewTensor(onnxio.Int32, seq)
		for i := range seq {
			data[int32](at)[i] = int32(i)
		}
	}
	if err := addRowsOf(data[T](sum), c.In[3], width, at, batch*seq); err != nil {
		return fmt.Errorf("position embedding: %w", err)
	}
	if c.Input(1) != nil && c.Input(4) != nil {
		if c.In[4].Type != word.Type {
			return typeError(4, c.In[4])
		}
		if err := addRowsOf(data[T](sum), c.In[4], width, c.In[1], batch*seq); err != nil {
			return fmt.Errorf("segment embedding: %w", err)
		}
	}
	if err := countMask(c, batch, seq); err != nil {
		return err
	}
	c.SetOut(2, sum)
	y := c.New(word.Type, batch, seq, width)
	gamma, err := tail[T](c.In[5], []int{width})
	if err != nil {
		return err
	}
	beta, err := tail[T](c.In[6], []int{width})
	if err != nil {
		return err
	}
	normRows(c, data[T](y), data[T](sum), width, eps, false, nil, func(_ int, d []T) {
		for i := range d {
			d[i] = d[i]*gamma[i] + beta[i]
		}
	})
	c.Out[0] = y
	return nil
}

// addRowsOf adds row index[i] of a table to row i of y, of rows in all; a shorter index is used again and again.
func addRowsOf[T float](y []T, table *tensor, width int, index *tensor, rows int) error {
	if len(table.Shape) != 2 || table.Shape[1] != width {
		return fmt.Errorf("shape is %v, expected [n %d]", table.Shape, width)
	}
	idx, err := indices(index, table.Shape[0])
	if err != nil {
		return err
	}
	if rows > 0 && (len(idx) == 0 || rows%len(idx) != 0) {
		return fmt.Errorf("%d indices for %d tokens", len(idx), rows)
	}
	t := data[T](table)
	for r := range rows {
		d := y[r*width : (r+1)*width]
		for i, v := range t[idx[r%len(idx)]*width:][:width] {
			d[i] += v
		}
	}
	return nil
}

// countMask sets output 1: the number of tokens of each row that the mask lets through, 0 without a mask.
func countMask(c *exec.Call, batch, seq int) error {
	count := onnxio.NewTensor(onnxio.Int32, batch)
	c.SetOut(1, count)
	mask, err := ints(c.Input(7))
	if err != nil || mask == nil {
		return err
	}
	if len(mask) != batch*seq {
		return fmt.Errorf("mask has shape %v, expected [%d %d]", c.In[7].Shape, batch, seq)
	}
	for i, v := range mask {
		if v == 1 {
			data[int32](count)[i/seq]++
		}
	}
	return nil
}

func inferEmbedNorm(n *graph.Node) error {
	ids, word := shapeOf(n, 0), shapeOf(n, 2)
	var out, count graph.Shape
	if len(ids) == 2 && len(word) == 2 {
		out, count = graph.Shape{ids[0], ids[1], word[1]}, graph.Shape{ids[0]}
	}
	n.SetOut(0, typeOf(n, 2), out)
	n.SetOut(1, onnxio.Int32, count)
	n.SetOut(2, typeOf(n, 2), out)
	return nil
}

func init() {
	exec.Register(
		exec.Op{Domain: microsoft, Name: "SkipLayerNormalization", Since: 1, Infer: inferSkipNorm, Prepare: prepareSkipNorm(false)},
		exec.Op{Domain: microsoft, Name: "SkipSimplifiedLayerNormalization", Since: 1, Infer: inferSkipNorm, Prepare: prepareSkipNorm(true)},
		exec.Op{Domain: microsoft, Name: "EmbedLayerNormalization", Since: 1, Infer: inferEmbedNorm, Prepare: prepareEmbedNorm},
	)
}
