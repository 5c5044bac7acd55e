package file

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strconv"
	"time"
	"unicode/utf8"

	"valence/connectors"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

const maxListed = 10_000

// read reads a file of a bounded size.
func (c *connection) read(root *os.Root, w *with) (*connectors.Result, error) {
	b, err := c.load(root, w.Path)
	if err != nil {
		return nil, err
	}
	doc, f := parse(b, w.Path, w.As)
	if f != nil {
		return nil, f
	}
	return &connectors.Result{Doc: doc}, nil
}

func (c *connection) load(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(name)
	switch {
	case err != nil:
		return nil, failed("read", name, err)
	case !info.Mode().IsRegular(): // opening a pipe would wait
		return nil, &fault.Failure{Code: CodeBadCall, Origin: fault.FromConnector, Message: "read " + strconv.Quote(name) + ": it is no file"}
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, failed("read", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, c.MaxSize+1))
	switch {
	case err != nil:
		return nil, failed("read", name, err)
	case int64(len(b)) > c.MaxSize:
		return nil, &fault.Failure{Code: fault.CodeTooLarge, Origin: fault.FromConnector, Message: "read " + strconv.Quote(name) + ": it is over max_size"}
	}
	return b, nil
}

var endings = map[string]string{".json": "json", ".xml": "xml", ".csv": "csv", ".txt": "text"}

// parse makes a document of a file.
func parse(b []byte, name, as string) (*document.Document, *fault.Failure) {
	if as == "" {
		as = endings[path.Ext(name)]
	}
	var data []byte
	var err error
	switch as {
	case "json":
		if err = convert.CheckJSON(b); err == nil {
			return document.FromJSON(b), nil
		}
	case "xml":
		if data, err = convert.XMLToJSON(b, nil); err == nil {
			return document.New(b, "application/xml", string(data)), nil
		}
	case "csv":
		if data, err = convert.CSVToJSON(b, true, ','); err == nil {
			return document.New(b, "text/csv; charset=utf-8", string(data)), nil
		}
	case "text":
		if utf8.Valid(b) {
			return document.FromText(string(b)), nil
		}
		err = errors.New("it is not UTF-8")
	default:
		return document.New(b, "application/octet-stream", ""), nil
	}
	return nil, &fault.Failure{Code: fault.CodeAnswer, Origin: fault.FromConnector, Message: strconv.Quote(name) + " cannot be read as " + as + ": " + err.Error(), Cause: err}
}

// write makes a file that is there whole or not at all.
func write(root *os.Root, w *with, body []byte) (*connectors.Result, error) {
	dir := path.Dir(w.Path)
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return nil, failed("write", w.Path, err)
	}
	name, flags := path.Join(dir, "."+path.Base(w.Path)+"-"+rand.Text()+".part"), os.O_CREATE|os.O_EXCL|os.O_WRONLY
	if w.IfExists == "append" {
		name, flags = w.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY
	}
	f, err := root.OpenFile(name, flags, 0o644)
	if err != nil {
		return nil, failed("write", w.Path, err)
	}
	_, err = f.Write(body)
	err = errors.Join(err, f.Sync())
	err = errors.Join(err, f.Close())
	if err == nil && name != w.Path {
		err = place(root, name, w.Path, w.IfExists == "replace")
	}
	if err != nil {
		if name != w.Path {
			_ = root.Remove(name) // it is of no use to anybody
		}
		return nil, failed("write", w.Path, err)
	}
	return &connectors.Result{Doc: document.Empty}, syncDir(root, dir)
}

// place gives a file its name: in place of another one, or only if there is none.
func place(root *os.Root, from, to string, replace bool) error {
	if replace {
		return root.Rename(from, to)
	}
	if err := root.Link(from, to); err != nil {
		return err
	}
	return root.Remove(from)
}

func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return failed("flush", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return failed("flush", dir, err)
	}
	return nil
}

func move(root *os.Root, w *with) (*connectors.Result, error) {
	done := &connectors.Result{Doc: document.Empty}
	if err := root.MkdirAll(path.Dir(w.To), 0o755); err != nil {
		return nil, failed("move", w.To, err)
	}
	err := place(root, w.Path, w.To, w.IfExists == "replace")
	if errors.Is(err, fs.ErrNotExist) {
		if _, there := root.Lstat(w.To); there == nil { // an attempt before this one has moved it
			return done, nil
		}
	}
	if err != nil {
		return nil, failed("move", w.Path, err)
	}
	return done, syncDir(root, path.Dir(w.To))
}

func list(ctx context.Context, root *os.Root, w *with) (*connectors.Result, error) {
	if _, err := path.Match(w.Pattern, ""); err != nil {
		return nil, &fault.Failure{Code: CodeBadCall, Origin: fault.FromConnector, Message: "the pattern " + strconv.Quote(w.Pattern) + " is none"}
	}
	infos, err := files(root, w.Path, func(name string) bool { ok, _ := path.Match(w.Pattern, name); return ok })
	if err != nil {
		return nil, failed("list", w.Path, err)
	}
	out := []any{}
	for _, i := range infos {
		if ctx.Err() != nil || len(out) == maxListed {
			break
		}
		out = append(out, properties(path.Join(w.Path, i.Name()), i))
	}
	return &connectors.Result{Doc: document.FromValue(out)}, nil
}

// properties is what a process may know of a file beside its content.
func properties(full string, i fs.FileInfo) *document.Object {
	o := &document.Object{}
	o.Set("name", path.Base(full))
	o.Set("path", full)
	o.Set("size", document.Number(strconv.FormatInt(i.Size(), 10)))
	o.Set("modified", i.ModTime().UTC().Format(time.RFC3339Nano))
	return o
}

// files gives the files of a folder by name: no folders, no links, nothing special.
func files(root *os.Root, dir string, wanted func(name string) bool) ([]fs.FileInfo, error) {
	d, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var found []fs.FileInfo
	for {
		batch, err := d.ReadDir(1000)
		for _, e := range batch {
			if !e.Type().IsRegular() || !wanted(e.Name()) {
				continue
			}
			if i, err := e.Info(); err == nil { // otherwise it is gone
				found = append(found, i)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Name() < found[j].Name() })
	return found, nil
}
