package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestEveryCommandShowsAnExample: who asks for help gets something to copy.
func TestEveryCommandShowsAnExample(t *testing.T) {
	parser, err := newParser(&streams{out: io.Discard, err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	err = kong.Visit(parser.Model, func(node kong.Visitable, next kong.Next) error {
		n, ok := node.(*kong.Node)
		if ok && n.Type == kong.CommandNode && !n.Hidden {
			if !strings.Contains(n.Detail, "xample") || !strings.Contains(n.Detail, "    valence ") {
				t.Errorf("valence %s --help shows no example:\n%s", n.FullPath(), n.Detail)
			}
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}
