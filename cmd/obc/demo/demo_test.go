package demo

import (
	"context"
	"testing"
)

func TestImages(t *testing.T) {
	calib, err := Calibration()
	if err != nil {
		t.Fatal(err)
	}
	test, err := Test()
	if err != nil {
		t.Fatal(err)
	}
	if calib.Len() != 256 || calib.Labels != nil || test.Len() != 1000 || len(test.Labels) != 1000 {
		t.Fatalf("calibration %d images, %d labels; test %d images, %d labels", calib.Len(), len(calib.Labels), test.Len(), len(test.Labels))
	}
	// Normalised over the training set, so the mean is near 0 and the mean square near 1; black is (0 - 0.2860) / 0.3530.
	sum, squares := 0.0, 0.0
	for _, x := range calib.Pixels {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	n := float64(len(calib.Pixels))
	if mean := sum / n; mean < -0.1 || mean > 0.1 || squares/n < 0.8 || squares/n > 1.2 {
		t.Errorf("mean %.3f, mean square %.3f", mean, squares/n)
	}
	seen := map[int64]int{}
	for _, l := range test.Labels {
		seen[l]++
	}
	if len(seen) != 10 || seen[0] < 50 || seen[9] < 50 {
		t.Errorf("labels per class: %v", seen)
	}
}

func TestBatch(t *testing.T) {
	test, err := Test()
	if err != nil {
		t.Fatal(err)
	}
	b, err := test.Batch(context.Background(), 998, 1000)
	if err != nil {
		t.Fatal(err)
	}
	x := b[test.Inputs()[0]]
	if x == nil || x.Shape[0] != 2 || x.Float32s()[0] != test.Pixels[998*784] {
		t.Errorf("batch %v", x)
	}
	x.Float32s()[0] = 7 // a batch is the caller's own
	if test.Pixels[998*784] == 7 {
		t.Error("writing to a batch changes the data set")
	}
	if _, err := test.Batch(context.Background(), 999, 1001); err == nil {
		t.Error("no error past the end")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := test.Batch(ctx, 0, 1); err == nil {
		t.Error("no error from a cancelled context")
	}
}

func TestIDXErrors(t *testing.T) {
	for name, data := range map[string][]byte{"empty": nil, "not gzip": []byte("hello"), "wrong rank": testLabels} {
		if _, err := idx(data, side, side); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
