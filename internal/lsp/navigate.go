package lsp

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/sourcegraph/jsonrpc2"
	"gopkg.in/yaml.v3"

	"valence/internal/expression"
	"valence/internal/spec"
)

// lookup returns the occurrences of the symbol at a position; none if there is none.
func (s *Server) lookup(ctx context.Context, p *positionParams) (*view, *occurrence, []occurrence, error) {
	v, err := s.view(ctx, p.TextDocument.URI)
	if v == nil || err != nil {
		return nil, nil, nil, err
	}
	all := v.index()
	at := v.at(all, v.t.offset(p.Position))
	if at == nil {
		return v, nil, nil, nil
	}
	var same []occurrence
	for _, o := range all {
		if o.symbol == at.symbol {
			same = append(same, o)
		}
	}
	return v, at, same, nil
}

func (s *Server) location(o occurrence) Location {
	return Location{URI: s.workspace.uri(o.file.path), Range: o.file.text.span(o.span)}
}

// definition returns the places that declare the name at a position.
func (s *Server) definition(ctx context.Context, p *positionParams) ([]Location, error) {
	out := []Location{}
	_, _, same, err := s.lookup(ctx, p)
	for _, o := range same {
		if o.declares {
			out = append(out, s.location(o))
		}
	}
	return out, err
}

// references returns the places that use the name at a position.
func (s *Server) references(ctx context.Context, p *referenceParams) ([]Location, error) {
	out := []Location{}
	_, _, same, err := s.lookup(ctx, &p.positionParams)
	for _, o := range same {
		if !o.declares || p.Context.IncludeDeclaration {
			out = append(out, s.location(o))
		}
	}
	return out, err
}

// highlights returns the places in the document that have the name at a position.
func (s *Server) highlights(ctx context.Context, p *positionParams) ([]map[string]any, error) {
	out := []map[string]any{}
	v, _, same, err := s.lookup(ctx, p)
	for _, o := range same {
		if o.file.path == v.path {
			out = append(out, map[string]any{"range": o.file.text.span(o.span)})
		}
	}
	return out, err
}

// prepareRename returns the name at a position, or nil if it cannot be renamed.
func (s *Server) prepareRename(ctx context.Context, p *positionParams) (any, error) {
	_, at, _, err := s.lookup(ctx, p)
	if at == nil || err != nil {
		return nil, err
	}
	return map[string]any{"range": at.file.text.span(at.span), "placeholder": at.name}, nil
}

// rename changes a name in all places of the project.
func (s *Server) rename(ctx context.Context, p *renameParams) (*WorkspaceEdit, error) {
	v, at, same, err := s.lookup(ctx, &p.positionParams)
	if err != nil {
		return nil, err
	}
	if at == nil {
		return nil, refused("there is no name here that can be changed")
	}
	if err := v.renamable(at.symbol, p.NewName); err != nil {
		return nil, err
	}
	edit := &WorkspaceEdit{Changes: map[string][]TextEdit{}}
	for _, o := range same {
		uri := s.workspace.uri(o.file.path)
		edit.Changes[uri] = append(edit.Changes[uri], TextEdit{o.file.text.span(o.span), written(p.NewName, o)})
	}
	return edit, nil
}

// written returns a new name as it is written in place of an occurrence: with the
// escapes of the quotes around it, or with quotes if it needs them.
func written(name string, o occurrence) string {
	content, at := o.file.text.content, o.span.From
	quoted := strconv.Quote(name)
	switch {
	case at > 0 && content[at-1] == '"':
		return quoted[1 : len(quoted)-1]
	case at > 0 && content[at-1] == '\'':
		return strings.ReplaceAll(name, "'", "''")
	case o.kind != "test" || plain(name):
		return name
	}
	return quoted
}

// plain reports whether YAML reads a text without quotes as itself, also inside
// of braces.
func plain(text string) bool {
	for _, form := range []string{"test: %s\nx: y\n", "{ test: %s, x: y }\n"} {
		var m map[string]any
		if err := yaml.Unmarshal(fmt.Appendf(nil, form, text), &m); err != nil || len(m) != 2 || m["test"] != text {
			return false
		}
	}
	return true
}

func refused(format string, args ...any) error {
	return &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidRequest, Message: fmt.Sprintf(format, args...)}
}

// renamable returns an error if a symbol cannot have a new name.
func (v *view) renamable(old symbol, name string) error {
	switch old.kind {
	case "test":
		if strings.TrimSpace(name) == "" || strings.ContainsFunc(name, unicode.IsControl) {
			return refused("the name of a test is one line of text")
		}
	case symbolStep, symbolVar, symbolWait, "function":
		if !spec.IsName(name) {
			return refused("`%s` is no name: use lower-case letters, digits and `_`, beginning with a letter", spec.Clip(name))
		}
	default:
		if !spec.IsComponentName(name) {
			return refused("`%s` is no name: use lower-case letters, digits and `-`, beginning with a letter", spec.Clip(name))
		}
	}
	if old.kind == "function" && expression.IsFunction(name) {
		return refused("`%s` is a function of the language", name)
	}
	for _, o := range v.index() {
		if o.symbol == (symbol{old.kind, old.scope, name}) && o.declares && name != old.name {
			return refused("there is already a %s `%s`", old.kind, name)
		}
	}
	return nil
}
