package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keystrokes is the number of characters that are typed in each round.
const keystrokes = 100

// typing measures the time from a keystroke in a file of 500 lines until the
// diagnostics of the changed file are there.
func (b *bench) typing(ctx context.Context) (_ []Row, err error) {
	project, err := b.written(40)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(project, "project.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")[:500]
	row := Row{Workload: "A keystroke in a file of 500 lines, until its diagnostics are there, median", Unit: "ms", Must: 50, Aim: 25, Least: true}
	var all, most []float64
	for range b.Rounds {
		times, err := b.typed(ctx, file, strings.Join(lines, "\n"))
		if err != nil {
			return nil, err
		}
		all = append(all, median(times))
		most = append(most, slices.Max(times))
		row.Rounds = append(row.Rounds, [2]float64{0, median(times)})
	}
	row.Atom = median(all)
	row.Notes = []string{"valence lsp over its standard input and output, with its pause of 15 ms after a keystroke; the slowest of 100 took " + figure(median(most)) + " ms"}
	return []Row{row}, nil
}

// typed types into a file and returns the time of each keystroke, in milliseconds.
func (b *bench) typed(ctx context.Context, file, text string) (times []float64, err error) {
	e, err := b.editor(ctx, filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.leave()) }()
	uri := (&url.URL{Scheme: "file", Path: file}).String()
	document := func(version int) map[string]any { return map[string]any{"uri": uri, "version": version} }
	open := document(1)
	open["text"], open["languageId"] = text, "yaml"
	if err := e.send(map[string]any{"method": "textDocument/didOpen", "params": map[string]any{"textDocument": open}}); err != nil {
		return nil, err
	}
	if err := e.await(1); err != nil {
		return nil, err
	}
	// A comment grows in the middle of the file.
	line := 250
	for i := range keystrokes {
		at := map[string]any{"line": line, "character": len(strings.Split(text, "\n")[line]) + i}
		typed := "x"
		if i == 0 {
			typed = "#"
		}
		begin := time.Now()
		err := e.send(map[string]any{"method": "textDocument/didChange", "params": map[string]any{"textDocument": document(i + 2),
			"contentChanges": []any{map[string]any{"range": map[string]any{"start": at, "end": at}, "text": typed}}}})
		if err == nil {
			err = e.await(i + 2)
		}
		if err != nil {
			return nil, err
		}
		times = append(times, float64(time.Since(begin).Microseconds())/1000)
	}
	return times, nil
}

// editorClient is an editor with a language server of its own.
type editorClient struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// editor starts a language server on a folder.
func (b *bench) editor(ctx context.Context, folder string) (*editorClient, error) {
	cmd := exec.CommandContext(ctx, b.valence, "lsp")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	e := &editorClient{cmd, in, bufio.NewReader(out)}
	root := (&url.URL{Scheme: "file", Path: folder}).String()
	if err := e.send(map[string]any{"id": 1, "method": "initialize", "params": map[string]any{"rootUri": root, "capabilities": map[string]any{}}}); err != nil {
		return nil, errors.Join(err, e.leave())
	}
	return e, nil
}

// leave ends the server, which then has no client any more.
func (e *editorClient) leave() error {
	err := e.in.Close()
	_, copied := io.Copy(io.Discard, e.out)
	var exit *exec.ExitError
	if ended := e.cmd.Wait(); ended != nil && !errors.As(ended, &exit) {
		err = errors.Join(err, ended)
	}
	return errors.Join(err, copied)
}

func (e *editorClient) send(message map[string]any) error {
	message["jsonrpc"] = "2.0"
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.in, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return err
}

// await reads messages until the diagnostics of a version are there.
func (e *editorClient) await(version int) error {
	for {
		header, err := textproto.NewReader(e.out).ReadMIMEHeader()
		if err != nil {
			return fmt.Errorf("read from the language server: %w", err)
		}
		n, err := strconv.Atoi(header.Get("Content-Length"))
		if err != nil {
			return err
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(e.out, body); err != nil {
			return err
		}
		var m struct {
			Method string
			Params struct {
				Version     int
				Diagnostics []struct{ Message string }
			}
		}
		if err := json.Unmarshal(body, &m); err != nil {
			return err
		}
		if m.Method == "textDocument/publishDiagnostics" && m.Params.Version == version {
			return nil
		}
	}
}
