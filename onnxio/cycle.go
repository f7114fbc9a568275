package onnxio

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// findCycle returns items that need each other in a circle, each needed by the next, or nil if there are none.
func findCycle(needs [][]int) []int {
	waiting := make([]int, len(needs)) // how many of its needs each item still waits for
	users := make([][]int, len(needs))
	var ready []int
	for i, ns := range needs {
		waiting[i] = len(ns)
		for _, n := range ns {
			users[n] = append(users[n], i)
		}
		if len(ns) == 0 {
			ready = append(ready, i)
		}
	}
	done := 0
	for ; len(ready) > 0; done++ {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		for _, u := range users[i] {
			if waiting[u]--; waiting[u] == 0 {
				ready = append(ready, u)
			}
		}
	}
	if done == len(needs) {
		return nil
	}
	// every item that still waits needs another one that does: going back must come round
	at := slices.IndexFunc(waiting, func(w int) bool { return w > 0 })
	var path []int
	place := map[int]int{}
	for {
		if from, ok := place[at]; ok {
			loop := path[from:]
			slices.Reverse(loop)
			return loop
		}
		place[at] = len(path)
		path = append(path, at)
		at = needs[at][slices.IndexFunc(needs[at], func(n int) bool { return waiting[n] > 0 })]
	}
}

type functionKey struct{ domain, name, overload string }

// functions checks the model's functions: each by itself, and that none calls itself by way of others.
func (c *checker) functions() error {
	fns := c.m.Proto.Functions
	index := make(map[functionKey]int, len(fns))
	for i, f := range fns {
		k := functionKey{normalDomain(f.GetDomain()), f.GetName(), f.GetOverload()}
		if _, ok := index[k]; ok || k.name == "" {
			return fmt.Errorf("function %q of domain %q comes twice or has no name", k.name, k.domain)
		}
		index[k] = i
	}
	calls := make([][]int, len(fns))
	for i, f := range fns {
		if err := c.function(f); err != nil {
			return fmt.Errorf("function %q: %w", f.GetName(), err)
		}
		err := eachNode(f.ProtoReflect(), func(n *onnxpb.NodeProto) error {
			if to, ok := index[functionKey{normalDomain(n.GetDomain()), n.GetOpType(), n.GetOverload()}]; ok {
				calls[i] = append(calls[i], to)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if loop := findCycle(calls); loop != nil {
		return fmt.Errorf("function %q calls itself, directly or through others: that cannot end", fns[loop[0]].GetName())
	}
	return nil
}

func (c *checker) function(f *onnxpb.FunctionProto) error {
	if err := c.useOpsets(f.OpsetImport, false); err != nil {
		return err
	}
	c.refs = true
	defer func() { c.refs = false }()
	s := &scope{made: map[string]string{}}
	for _, name := range f.Input {
		if err := s.define(name, "an input"); err != nil {
			return err
		}
	}
	if _, err := c.nodes(f.Node, s); err != nil {
		return err
	}
	for _, name := range f.Output {
		if !s.has(name) {
			return fmt.Errorf("its output %q is made by no node or input", name)
		}
	}
	return nil
}
