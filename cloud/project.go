package cloud

import (
	"context"
	"io"

	"valence/internal/wire"
	"valence/processes"
)

// Project returns the checked project of a package. The check is limited like
// that of an upload.
func (s *Packages) Project(ctx context.Context, p Principal, id string) (*processes.Project, error) {
	x, err := s.Get(ctx, p, id)
	if err != nil {
		return nil, err
	}
	if err := p.Allow("package.download"); err != nil {
		return nil, err
	}
	f, err := s.openArchive(ctx, p, x.SHA256)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	archive, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	files, err := wire.Unpack(archive)
	if err != nil {
		return nil, err
	}
	sources := make([]processes.File, len(files))
	for i, f := range files {
		sources[i] = processes.File{Name: f.Name, Content: f.Content}
	}
	project, problems, err := s.lint(ctx, sources)
	if err != nil {
		return nil, err
	}
	if problems.HasErrors() {
		return nil, conflict("%s %s has errors for this version of the control plane: upload it again to see them", x.Project, x.Version)
	}
	return project, nil
}
