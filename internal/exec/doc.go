// Package exec runs ONNX graphs in float32, or in float64 as an oracle.
//
// An executor prepares a graph once (operators found, attributes checked, weights packed) and then runs batches:
//
//	e, err := exec.New(g, exec.Options{Threads: 2})    // *UnsupportedError lists every operator that is not known
//	out, err := e.Run(ctx, map[string]*onnxio.Tensor{"input": x}, nil)
//
// Operators live in package exec/ops, one family a file, and register themselves; a program that wants them imports
// that package for its side effect. Hooks see the true inputs and outputs of every node. Sessions run a graph piece by piece:
//
//	s := e.Start(feeds)
//	err = s.RunUntil(ctx, node, hooks)   // everything before node
//	live := s.Live()                     // all that the rest of the graph still reads
//	s = e.Resume(live, node)             // later, perhaps with other weights
//
// Activations are freed as soon as nothing reads them any more and their memory is used again. What a run may hold is
// bounded by Options.MemoryLimit, so a hostile shape gives an error.
package exec
