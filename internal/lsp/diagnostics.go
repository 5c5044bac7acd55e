package lsp

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"valence/connectors"
	"valence/internal/catalogue"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/loader"
)

// pause is the time after a change until the project is checked. A change within
// it starts it anew.
const pause = 15 * time.Millisecond

// check is the check of one project that is running or waits for its pause.
type check struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// changed checks the project of a file after the pause. It replaces the check of
// the same project that has not ended.
func (s *Server) changed(path string) {
	project := s.workspace.project(path)
	if project == "" {
		s.running.Go(func() { s.clear(path) })
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.checks[project]
	if before != nil {
		before.cancel()
	}
	ctx, cancel := context.WithCancel(s.ctx)
	c := &check{cancel: cancel, done: make(chan struct{})}
	s.checks[project] = c
	s.running.Go(func() {
		defer close(c.done)
		defer cancel()
		defer s.recovered("the check of a project", nil)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if before != nil {
			<-before.done // so that results are published in order
		}
		s.check(ctx, project)
	})
}

// describe stores the operations that files of a project describe. Those of a
// connection with errors are kept.
func (s *Server) describe(folder string, p *processes.Project) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, c := range p.Connections {
		if c.Connector != nil && c.Connector.Describe != nil && len(c.Operations) > 0 {
			if s.described[folder] == nil {
				s.described[folder] = map[string][]connectors.Operation{}
			}
			s.described[folder][name] = c.Operations
		}
	}
}

// check loads a project and publishes its problems.
func (s *Server) check(ctx context.Context, project string) {
	docs, contents := s.workspace.snapshot()
	files, err := loader.ReadOpen(contents, project)
	if err != nil {
		s.log(ctx, "cannot read the project: "+err.Error())
		return
	}
	loaded, problems, err := loader.LoadWithin(ctx, files, s.catalog, loader.Limits{})
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			s.log(ctx, "cannot check the project: "+err.Error())
		}
		return
	}
	s.describe(project, loaded)
	texts := map[string]*text{}
	for _, f := range files {
		path := filepath.FromSlash(f.Name)
		if d := docs[path]; d != nil {
			texts[path] = d.text
		} else {
			texts[path] = nil // made if there is a problem
		}
	}
	contentOf := func(path string) *text {
		if texts[path] == nil {
			for _, f := range files {
				if filepath.FromSlash(f.Name) == path {
					texts[path] = newText(valid(string(f.Content)))
				}
			}
		}
		return texts[path]
	}
	byFile := map[string][]Diagnostic{}
	for _, p := range problems {
		path := filepath.FromSlash(p.File)
		if path == "" {
			continue
		}
		if t := contentOf(path); t != nil {
			byFile[path] = append(byFile[path], diagnosticOf(p, t, project))
		}
	}
	if ctx.Err() == nil {
		s.publish(ctx, project, docs, byFile)
	}
}

// publish sends the diagnostics of a project, and clears those of files that have
// no problem any more.
func (s *Server) publish(ctx context.Context, project string, docs map[string]*document, byFile map[string][]Diagnostic) {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	reported := s.reported[project]
	now := map[string]bool{}
	send := func(path string, list []Diagnostic) {
		m := publishDiagnostics{URI: uriOf(path), Diagnostics: list}
		if d := docs[path]; d != nil {
			m.URI, m.Version = d.uri, d.version
		}
		_ = s.conn.Notify(ctx, "textDocument/publishDiagnostics", m) // fails only if the client has left
	}
	for path, list := range byFile {
		now[path] = true
		send(path, list)
	}
	for path := range docs {
		if rel, err := filepath.Rel(project, path); err == nil && filepath.IsLocal(rel) && !now[path] {
			send(path, []Diagnostic{})
			delete(reported, path)
		}
	}
	for path := range reported {
		if !now[path] {
			send(path, []Diagnostic{})
		}
	}
	s.reported[project] = now
}

// clear removes the diagnostics of a file that belongs to no project.
func (s *Server) clear(path string) {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	for _, files := range s.reported {
		if files[path] {
			delete(files, path)
			_ = s.conn.Notify(s.ctx, "textDocument/publishDiagnostics", publishDiagnostics{URI: s.workspace.uri(path), Diagnostics: []Diagnostic{}})
		}
	}
}

// diagnosticOf returns a problem as a diagnostic.
func diagnosticOf(p *fault.Problem, t *text, project string) Diagnostic {
	d := Diagnostic{Severity: severityError, Code: string(p.Code), Source: "valence", Message: p.Msg}
	if p.Severity == fault.Warning {
		d.Severity = severityWarning
	}
	if p.Hint != "" {
		d.Message += "\ntry: " + p.Hint
	}
	if page, ok := catalogue.Lookup(string(p.Code)); ok {
		d.Message += "\nsee: " + page.Link
	}
	d.Message = strings.ReplaceAll(d.Message, filepath.ToSlash(project)+"/", "")
	if p.Line == 0 {
		d.Range = Range{End: t.position(len(t.line(0)))}
		return d
	}
	from := t.column(p.Line, p.Col)
	line := t.line(p.Line - 1)
	end := t.starts[min(p.Line, len(t.starts))-1] + len(line)
	rest := t.content[from:max(from, end)]
	n := wordLen(rest)
	if p.Fix.Old != "" && strings.HasPrefix(rest, p.Fix.Old) {
		n = len(p.Fix.Old)
	}
	d.Range = Range{t.position(from), t.position(from + n)}
	if corrected := p.Fix.Apply(line, p.Col); corrected != "" {
		d.Data = &Correction{Line: p.Line - 1, Old: p.Fix.Old, New: p.Fix.New, Text: corrected}
	}
	return d
}

// wordLen returns the length of the word at the beginning of a text: a key, a
// name, or at least one character.
func wordLen(s string) int {
	for i, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' && r != '.' {
			if i == 0 {
				return utf8.RuneLen(r)
			}
			return i
		}
	}
	return len(s)
}
