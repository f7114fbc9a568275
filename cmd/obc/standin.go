package main

import "io"

type progress struct{}

func (a *app) closeProgress() {}

func (a *app) progressWriter() io.Writer { return a.err }
