package main

import "github.com/mmcloughlin/avo/attr"

// pause is one instruction, of any width: a core that polls memory leaves more of its units to what runs beside it.
func pause(g *gen) {
	if g.wide() {
		return
	}
	g.Function("pause")
	g.Attributes(attr.NOSPLIT)
	g.SignatureExpr("func()")
	g.Doc("pause passes a moment.")
	g.PAUSE()
	g.RET()
}
