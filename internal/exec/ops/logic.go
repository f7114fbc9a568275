package ops

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

type ordered interface{ number | string }

func equal[T comparable](a, b T) bool     { return a == b }
func less[T ordered](a, b T) bool         { return a < b }
func lessEqual[T ordered](a, b T) bool    { return a <= b }
func greater[T ordered](a, b T) bool      { return a > b }
func greaterEqual[T ordered](a, b T) bool { return a >= b }

// compare is the kernel form of a comparison for one type.
func compare[T any](f func(a, b T) bool) func(c *exec.Call) error {
	return binary(onnxio.Bool, rowsOf(f))
}

func forms(i8 func(a, b int8) bool, i16 func(a, b int16) bool, i32 func(a, b int32) bool, i64 func(a, b int64) bool,
	u8 func(a, b uint8) bool, u16 func(a, b uint16) bool, u32 func(a, b uint32) bool, u64 func(a, b uint64) bool,
	f32 func(a, b float32) bool, f64 func(a, b float64) bool) typed {
	return typed{
		onnxio.Int8: compare(i8), onnxio.Int16: compare(i16), onnxio.Int32: compare(i32), onnxio.Int64: compare(i64),
		onnxio.Uint8: compare(u8), onnxio.Uint16: compare(u16), onnxio.Uint32: compare(u32), onnxio.Uint64: compare(u64),
		onnxio.Float32: compare(f32), onnxio.Float64: compare(f64),
	}
}

func logical(f func(a, b bool) bool) typed { return typed{onnxio.Bool: compare(f)} }

// bitwise is the kernel form of a bit operation for all integer types.
func bitwise(i8 func(a, b int8) int8, i16 func(a, b int16) int16, i32 func(a, b int32) int32, i64 func(a, b int64) int64,
	u8 func(a, b uint8) uint8, u16 func(a, b uint16) uint16, u32 func(a, b uint32) uint32, u64 func(a, b uint64) uint64) typed {
	return typed{
		onnxio.Int8: binary(0, rowsOf(i8)), onnxio.Int16: binary(0, rowsOf(i16)), onnxio.Int32: binary(0, rowsOf(i32)),
		onnxio.Int64: binary(0, rowsOf(i64)), onnxio.Uint8: binary(0, rowsOf(u8)), onnxio.Uint16: binary(0, rowsOf(u16)),
		onnxio.Uint32: binary(0, rowsOf(u32)), onnxio.Uint64: binary(0, rowsOf(u64)),
	}
}

func and[T integer](a, b T) T { return a & b }
func or[T integer](a, b T) T  { return a | b }
func xor[T integer](a, b T) T { return a ^ b }
func not[T integer](a T) T    { return ^a }

// shift moves bits: by a negative amount or by the width and more only the sign extension is left.
func shift[T integer](left bool) func(a, b T) T {
	width := T(8 * unsafe.Sizeof(T(0)))
	return func(a, b T) T {
		switch {
		case b >= 0 && b < width && left:
			return a << b
		case b >= 0 && b < width:
			return a >> b
		case !left && a < 0:
			return a | ^T(0)
		}
		return 0
	}
}

func prepareBitShift(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	d := n.Str("direction", "")
	if d != "LEFT" && d != "RIGHT" {
		return nil, fmt.Errorf("attribute direction is %q, expected LEFT or RIGHT", d)
	}
	l := d == "LEFT"
	return binaryOp(bitwise(shift[int8](l), shift[int16](l), shift[int32](l), shift[int64](l),
		shift[uint8](l), shift[uint16](l), shift[uint32](l), shift[uint64](l)))(n, p)
}

// test is a kernel form from floats to bools.
func test[T float](f func(float64) bool) func(c *exec.Call) error {
	return func(c *exec.Call) error {
		x := data[T](c.In[0])
		y := c.New(onnxio.Bool, c.In[0].Shape...)
		d := data[bool](y)
		for i, v := range x {
			d[i] = f(float64(v))
		}
		c.Out[0] = y
		return nil
	}
}

func testOf(f func(float64) bool) exec.Kernel {
	return by(0, typed{onnxio.Float32: test[float32](f), onnxio.Float64: test[float64](f)})
}

func prepareIsInf(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	neg, pos := n.Int("detect_negative", 1) != 0, n.Int("detect_positive", 1) != 0
	return testOf(func(x float64) bool { return neg && math.IsInf(x, -1) || pos && math.IsInf(x, 1) }), nil
}

func init() {
	eq := forms(equal[int8], equal[int16], equal[int32], equal[int64], equal[uint8], equal[uint16], equal[uint32], equal[uint64],
		equal[float32], equal[float64])
	eq[onnxio.Bool], eq[onnxio.String] = compare(equal[bool]), compare(equal[string])
	boolOut := inferBroadcast(0, onnxio.Bool)
	reg := func(name string, f typed) {
		exec.Register(exec.Op{Name: name, Since: 1, Infer: boolOut, Prepare: binaryOp(f)})
	}
	reg("Equal", eq)
	reg("Less", forms(less[int8], less[int16], less[int32], less[int64], less[uint8], less[uint16], less[uint32], less[uint64],
		less[float32], less[float64]))
	reg("LessOrEqual", forms(lessEqual[int8], lessEqual[int16], lessEqual[int32], lessEqual[int64], lessEqual[uint8], lessEqual[uint16],
		lessEqual[uint32], lessEqual[uint64], lessEqual[float32], lessEqual[float64]))
	reg("Greater", forms(greater[int8], greater[int16], greater[int32], greater[int64], greater[uint8], greater[uint16], greater[uint32],
		greater[uint64], greater[float32], greater[float64]))
	reg("GreaterOrEqual", forms(greaterEqual[int8], greaterEqual[int16], greaterEqual[int32], greaterEqual[int64], greaterEqual[uint8],
		greaterEqual[uint16], greaterEqual[uint32], greaterEqual[uint64], greaterEqual[float32], greaterEqual[float64]))
	reg("And", logical(func(a, b bool) bool { return a && b }))
	reg("Or", logical(func(a, b bool) bool { return a || b }))
	reg("Xor", logical(func(a, b bool) bool { return a != b }))
	exec.Register(
		exec.Op{Name: "Not", Since: 1, Infer: sameAs(0), Prepare: always(by(0, typed{
			onnxio.Bool: mapKernel(1, func(x bool) bool { return !x })}))},
		exec.Op{Name: "BitwiseAnd", Since: 18, Infer: inferBroadcast(0, 0), Prepare: binaryOp(bitwise(and[int8], and[int16], and[int32],
			and[int64], and[uint8], and[uint16], and[uint32], and[uint64]))},
		exec.Op{Name: "BitwiseOr", Since: 18, Infer: inferBroadcast(0, 0), Prepare: binaryOp(bitwise(or[int8], or[int16], or[int32],
			or[int64], or[uint8], or[uint16], or[uint32], or[uint64]))},
		exec.Op{Name: "BitwiseXor", Since: 18, Infer: inferBroadcast(0, 0), Prepare: binaryOp(bitwise(xor[int8], xor[int16], xor[int32],
			xor[int64], xor[uint8], xor[uint16], xor[uint32], xor[uint64]))},
		exec.Op{Name: "BitwiseNot", Since: 18, Infer: sameAs(0), Prepare: always(by(0, typed{
			onnxio.Int8: mapKernel(1, not[int8]), onnxio.Int16: mapKernel(1, not[int16]), onnxio.Int32: mapKernel(1, not[int32]),
			onnxio.Int64: mapKernel(1, not[int64]), onnxio.Uint8: mapKernel(1, not[uint8]), onnxio.Uint16: mapKernel(1, not[uint16]),
			onnxio.Uint32: mapKernel(1, not[uint32]), onnxio.Uint64: mapKernel(1, not[uint64])}))},
		exec.Op{Name: "BitShift", Since: 11, Infer: inferBroadcast(0, 0), Prepare: prepareBitShift},
		exec.Op{Name: "IsNaN", Since: 9, Infer: unlike(0, onnxio.Bool), Prepare: always(testOf(math.IsNaN))},
		exec.Op{Name: "IsInf", Since: 10, Infer: unlike(0, onnxio.Bool), Prepare: prepareIsInf},
	)
}
