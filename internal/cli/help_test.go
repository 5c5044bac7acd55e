package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"valence/internal/cli/terminal"
)

func TestEveryCommandHasAnExample(t *testing.T) {
	parser, err := newParser(&terminal.Streams{Out: io.Discard, Err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	err = kong.Visit(parser.Model, func(node kong.Visitable, next kong.Next) error {
		n, ok := node.(*kong.Node)
		if ok && n.Type == kong.CommandNode && !n.Hidden {
			if !strings.Contains(n.Detail, "xample") || !strings.Contains(n.Detail, "    valence ") {
				t.Errorf("valence %s --help: got %q, want an example", n.FullPath(), n.Detail)
			}
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}
