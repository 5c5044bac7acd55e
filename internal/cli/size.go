package cli

import (
	"reflect"

	"github.com/alecthomas/kong"

	"valence/internal/spec"
)

// sizeMapper parses flags such as 20GiB into an int64.
type sizeMapper struct{}

// Decode implements kong.Mapper.
func (sizeMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("size", &text); err != nil {
		return err
	}
	n, err := spec.ParseSize(text)
	if err != nil {
		return err
	}
	target.SetInt(n)
	return nil
}
