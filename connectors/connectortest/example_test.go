package connectortest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

type settings struct{ File string }

func Connector(version string) *connectors.Connector {
	return &connectors.Connector{
		Name: "tail",
		Doc:  "Appends lines to a file and reads new ones.",
		Settings: []spec.Field{
			spec.String("file", func(s *settings) *string { return &s.File }, "Path of the file.").Required(),
		},
		NewSettings:  func() any { return &settings{} },
		Operations:   []connectors.Operation{appendOperation},
		Subscription: subscription(),
		Open: func(s any, _ *access.Policy) (connectors.Connection, error) {
			return &connection{*s.(*settings)}, nil
		},
	}
}

type connection struct{ settings }

func (c *connection) Close() error { return nil }

type appendWith struct{ Prefix string }

var appendOperation = connectors.Define(connectors.Operation{
	Name: "append", Doc: "Appends the document as a line.", SendsBody: true,
	With: []spec.Field{
		spec.String("prefix", func(w *appendWith) *string { return &w.Prefix }, "Text before the document."),
	},
	Sample: "- call: log.append\n  with: { prefix: \"order \" }\n",
}, func(_ context.Context, c *connection, w *appendWith, call *connectors.Call) (*connectors.Result, error) {
	f, err := os.OpenFile(c.File, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, connectors.Retry(fault.CodeConnect, "cannot open the file", 0, err)
	}
	_, err = fmt.Fprintf(f, "%s%s\n", w.Prefix, call.Body.Text())
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, connectors.Failf(fault.CodeAborted, true, err, "cannot write the file: %v", err)
	}
	return &connectors.Result{Doc: document.Empty}, nil
})

type listenWith struct{ Every time.Duration }

func subscription() *connectors.Subscription {
	return &connectors.Subscription{
		Doc:     "Delivers the lines of the file, each once.",
		Sample:  "subscribe: { connection: log }\n",
		NewWith: func() any { return &listenWith{} },
		With: []spec.Field{
			spec.Duration("every", func(w *listenWith) *time.Duration { return &w.Every }, "How often to look for new lines.").Or(time.Second).Min(time.Millisecond),
		},
	}
}

func (c *connection) Listen(ctx context.Context, with any, host *connectors.Host) error {
	for tick := time.NewTicker(with.(*listenWith).Every); ; {
		if err := c.deliverNew(ctx, host); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *connection) deliverNew(ctx context.Context, host *connectors.Host) error {
	f, err := os.Open(c.File)
	if err != nil {
		return connectors.Retry(fault.CodeConnect, "cannot open the file", 0, err)
	}
	defer f.Close()
	host.Up()
	cursor, err := host.Cursor(ctx, c.File)
	if err != nil {
		return err
	}
	at, _ := strconv.ParseInt(string(cursor), 10, 64) // 0 at first
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return connectors.Failf(fault.CodeAborted, true, err, "cannot read the file: %v", err)
	}
	for lines := bufio.NewReader(f); ctx.Err() == nil; {
		line, err := lines.ReadString('\n')
		if err != nil { // the rest is not complete yet
			return nil
		}
		at += int64(len(line))
		err = host.Deliver(ctx, &connectors.Message{
			Doc:    document.FromJSON([]byte(strings.TrimSuffix(line, "\n"))),
			Stream: c.File, Cursor: strconv.AppendInt(nil, at, 10),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func TestConforms(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  connectortest.Settings{"file": file},
		Away:      connectortest.Settings{"file": file + ".missing"},
		Calls:     []connectortest.Call{{Operation: "append", Body: `{"n":1}`}},
		Source: &connectortest.Source{
			With:    connectortest.Settings{"every": "5ms"},
			Ordered: true,
			Send: func(t *testing.T, doc string) {
				f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				fmt.Fprintln(f, doc)
			},
		},
	})
}

// TestGuide checks that every block of Go in the guide is code of this file.
func TestGuide(t *testing.T) {
	page, err := os.ReadFile("../../docs/how-to/write-a-connector.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 4 {
		t.Errorf("got %d blocks of Go, want at least 4", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(string(source), b[1]) {
			t.Errorf("not in example_test.go:\n%s", b[1])
		}
	}
}
