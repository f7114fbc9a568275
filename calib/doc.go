// Package calib turns calibration data into what the compression passes need: for each layer the Hessian H = 2/N sum x x^T of its
// inputs x, ranges and moments of activations, and, for corrections, the dense and the compressed model side by side.
//
// Data is opened for a model, and checked against its inputs:
//
//	data, err := calib.Open("calib.npz", g, calib.Options{Samples: 256})
//	defer data.Close()
//	for lo := 0; lo < data.Len(); lo += data.BatchSize() {
//		feeds, err := data.Batch(ctx, lo, min(lo+data.BatchSize(), data.Len()))
//		...
//	}
//
// Samples are read when they are asked for: a folder of pictures never sits in memory whole. data.Notes tells what was done to the
// data (casts, ignored arrays, the padding mask), data.Warnings what every report must repeat.
//
// # How to add a data format
//
// Write one file with a type that implements reader (columns: names, element types and shapes of the arrays, axis 0 counting
// samples; read: some rows of one of them; close), and add one line with its name and what it matches to formats in formats.go.
// Choosing samples, checking them against the model, casts, NaN and batches are done by Set for all formats alike; csv.go is a
// short example.
package calib
