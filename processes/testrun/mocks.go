package testrun

import (
	"context"
	"net/http"
	"path"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/processes"
)

// mocks answer the calls of one run.
type mocks struct {
	list []*processes.Mock
	used map[*processes.MockAnswer]bool
	// spare are the answers that a run without a crash does not use. They answer
	// repeated calls.
	spare map[*processes.MockAnswer]bool
}

func newMocks(list []*processes.Mock) *mocks {
	return &mocks{list: list, used: map[*processes.MockAnswer]bool{}}
}

// answer answers one attempt: by the mock of the step, or else of the operation.
func (m *mocks) answer(c *Call) Answer {
	mock := m.of(c)
	if mock == nil {
		return Answer{Missing: true}
	}
	env := &expression.Env{Names: callNames{c}}
	a, err := m.choose(mock, env)
	switch {
	case err != nil:
		return Answer{Err: err}
	case a == nil:
		return Answer{Missing: true}
	}
	return m.use(a, env)
}

// of returns the mock of a call; nil if there is none.
func (m *mocks) of(c *Call) *processes.Mock {
	if c.Step.Name != "" {
		if own := find(m.list, c.Step.Name); own != nil {
			return own
		}
	}
	return find(m.list, c.Operation)
}

// again answers an attempt that was answered before a crash: as then, unless the
// mock has an answer that only repeated calls get.
func (m *mocks) again(c *Call, before Answer) Answer {
	mock := m.of(c)
	if mock == nil {
		return before
	}
	env := &expression.Env{Names: callNames{c}}
	for _, a := range mock.Answers {
		if !m.spare[a] || m.used[a] {
			continue
		}
		if a.When != nil {
			if yes, err := a.When.Bool(env); err != nil {
				return Answer{Err: err}
			} else if !yes {
				continue
			}
		}
		return m.use(a, env)
	}
	return before
}

// unused returns the answers that no call got.
func (m *mocks) unused() map[*processes.MockAnswer]bool {
	spare := map[*processes.MockAnswer]bool{}
	for _, mock := range m.list {
		for _, a := range mock.Answers {
			if !m.used[a] {
				spare[a] = true
			}
		}
	}
	return spare
}

// use returns an answer of a mock, which is used from then on.
func (m *mocks) use(a *processes.MockAnswer, env *expression.Env) Answer {
	m.used[a] = true
	out := Answer{Status: a.Status, Header: header(a.Headers), Fail: a.Fail, After: a.After}
	out.Doc, out.Err = reply(a, env)
	return out
}

// choose returns the first unused answer whose condition is true, or else the
// last used one. It returns nil if no condition is true.
func (m *mocks) choose(mock *processes.Mock, env *expression.Env) (*processes.MockAnswer, error) {
	var last *processes.MockAnswer
	for _, a := range mock.Answers {
		if a.When != nil {
			yes, err := a.When.Bool(env)
			if err != nil {
				return nil, err
			}
			if !yes {
				continue
			}
		}
		if !m.used[a] {
			return a, nil
		}
		last = a
	}
	return last, nil
}

func header(list []processes.NamedText) http.Header {
	h := http.Header{}
	for _, kv := range list {
		h.Add(kv.Name, kv.Value)
	}
	return h
}

func reply(a *processes.MockAnswer, env *expression.Env) (*document.Document, error) {
	switch {
	case a.Compute != nil:
		text, err := a.Compute.JSON(env)
		return document.FromJSON(text), err
	case a.Reply != nil:
		return fixtureDocument(a.Reply, convert.Received{})
	}
	return document.Empty, nil
}

// callNames are the names that the expressions of a mock read.
type callNames struct{ call *Call }

// Name implements expression.Names.
func (n callNames) Name(root string) (any, bool) {
	switch root {
	case "body":
		if n.call.Body == nil {
			return nil, true
		}
		return n.call.Body.Value(), true
	case "with":
		if n.call.With == nil {
			return &document.Object{}, true
		}
		return n.call.With, true
	}
	return nil, false
}

// formats are the formats of files by their ending.
var formats = map[string]string{".json": convert.FormatJSON, ".xml": convert.FormatXML, ".csv": convert.FormatCSV, ".txt": convert.FormatText}

// fixtureDocument returns the document of a fixture, received as r. A text in
// the test is parsed, unless the format is "" or json. The format of a file is
// that of its ending if r has none.
func fixtureDocument(f *processes.Fixture, r convert.Received) (*document.Document, error) {
	content, format := f.Content, r.Format
	if f.File == "" {
		text, isText := document.Decode(document.Parse(string(content))).(string)
		if !isText || format == "" || format == convert.FormatJSON {
			return document.FromJSON(content), nil
		}
		content = []byte(text)
	} else if known := formats[path.Ext(f.File)]; format == "" || format == convert.FormatJSON && known != "" {
		format = known
	}
	switch format {
	case "":
		format = convert.FormatBinary
	case "multipart", "none":
		return document.FromJSON(content), nil
	}
	r.Format = format
	doc, err := convert.Decode(context.Background(), content, r)
	if err != nil {
		return nil, &fault.Problem{Pos: f.Pos, Code: processes.CodeBadFile, Msg: "the document is not valid: " + err.Error(), Hint: "correct " + named(f)}
	}
	return doc, nil
}

func named(f *processes.Fixture) string {
	if f.File == "" {
		return "the value"
	}
	return f.File
}
