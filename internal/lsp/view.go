package lsp

import (
	"context"
	"path/filepath"

	"valence/connectors"
	"valence/internal/lsp/yamltree"
)

// view is a project as one request sees it.
type view struct {
	s       *Server
	project string
	files   []file
	path    string // of the file of the request
	t       *text
	named   map[string]map[string]*declared // by kind and name
}

// declared is a component.
type declared struct {
	file  file
	doc   *yamltree.Node
	first *yamltree.Node // its first entry
}

// view returns the project of a file as it is now, or nil if the file is not open.
func (s *Server) view(ctx context.Context, uri string) (*view, error) {
	d := s.workspace.document(uri)
	if d == nil {
		return nil, nil
	}
	v := &view{s: s, path: d.path, t: d.text, project: s.workspace.project(d.path), named: map[string]map[string]*declared{}}
	if v.project == "" {
		v.project, v.files = filepath.Dir(d.path), []file{{d.path, d.text}}
	} else {
		files, err := s.workspace.files(v.project)
		if err != nil {
			return nil, err
		}
		v.files = files
	}
	for _, f := range v.files {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for _, doc := range f.text.tree() {
			if first := component(doc); first != nil && first.Value != "" {
				if v.named[first.Key] == nil {
					v.named[first.Key] = map[string]*declared{}
				}
				if v.named[first.Key][first.Value] == nil {
					v.named[first.Key][first.Value] = &declared{f, doc, first}
				}
			}
		}
	}
	return v, nil
}

// connector returns the connector of a connection, or nil.
func (v *view) connector(connection string) *connectors.Connector {
	if d := v.named["connection"][connection]; d != nil {
		return v.s.catalog.Connectors[d.doc.Text("connector")]
	}
	return nil
}

// operation returns the operation that `connection.operation` names, or nil.
func (v *view) operation(text string) *connectors.Operation {
	connection, name := splitOperation(text)
	op, _ := connectors.FindOperation(v.operations(connection), name)
	return op
}

// operations returns the operations of a connection: those of its connector, or
// those that files of the project described when it was checked last.
func (v *view) operations(connection string) []connectors.Operation {
	c := v.connector(connection)
	switch {
	case c == nil:
		return nil
	case c.Describe == nil:
		return c.Operations
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return v.s.described[v.project][connection]
}

// splitOperation splits `connection.operation`.
func splitOperation(text string) (connection, operation string) {
	for i := range len(text) {
		if text[i] == '.' {
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}

// root returns the document that holds a node.
func root(n *yamltree.Node) *yamltree.Node {
	for n.Parent != nil {
		n = n.Parent
	}
	return n
}
