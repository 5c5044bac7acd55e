package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"valence/atom/agent/cloudclient"
	"valence/internal/atomicfile"
	"valence/internal/wire"
)

// fetchTimeout limits the download of one package.
const fetchTimeout = 10 * time.Minute

func (c *Composer) PackagePath(id string) string {
	return filepath.Join(c.o.Folder, "packages", id+".tar")
}

// EnsurePackage downloads a deployment's package unless an intact copy is
// stored.
func (c *Composer) EnsurePackage(ctx context.Context, d wire.Deployment) error {
	if !wire.IsPackageID(d.Package) {
		return Permanentf("the package %q is not identified by a SHA-256", d.Package)
	}
	if _, err := c.ReadPackage(d.Package); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		c.o.Log.Warn("stored package is damaged; fetching it again", "package", d.Package, "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	archive, err := c.o.Client.Fetch(ctx, wire.PathPackages+d.Package, wire.PackageMediaType, wire.MaxPackageBytes)
	if err != nil {
		if r := (*cloudclient.ResponseError)(nil); errors.As(err, &r) && r.FromControlPlane() && r.Status == 404 {
			return Permanentf("the package %s of %s does not exist: %w", d.Package[:12], d.Project, err)
		}
		return fmt.Errorf("fetch the package of %s: %w", d.Project, err)
	}
	if wire.PackageID(archive) != d.Package {
		return fmt.Errorf("%w: the package of %s arrived as %s instead of %s", ErrAltered, d.Project, wire.PackageID(archive)[:12], d.Package[:12])
	}
	if _, err := wire.Unpack(archive); err != nil {
		return &PermanentError{Err: err}
	}
	if err := os.MkdirAll(filepath.Dir(c.PackagePath(d.Package)), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(c.PackagePath(d.Package), archive, 0o600)
}

// ReadPackage returns a stored package. It returns ErrAltered if the content
// does not match the ID.
func (c *Composer) ReadPackage(id string) ([]byte, error) {
	archive, err := os.ReadFile(c.PackagePath(id))
	if err != nil {
		return nil, err
	}
	if wire.PackageID(archive) != id {
		return nil, fmt.Errorf("%w on disk: %s", ErrAltered, c.PackagePath(id))
	}
	return archive, nil
}

var ErrAltered = errors.New("a package was altered")

// RemoveUnused deletes the packages that no deployment in inUse needs.
func (c *Composer) RemoveUnused(inUse ...*wire.Desired) {
	keep := map[string]bool{}
	for _, d := range inUse {
		if d != nil {
			for _, x := range d.Deployments {
				keep[x.Package+".tar"] = true
			}
		}
	}
	folder := filepath.Dir(c.PackagePath(""))
	entries, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			if err := os.Remove(filepath.Join(folder, e.Name())); err != nil {
				c.o.Log.Warn("cannot delete unused package", "error", err)
			}
		}
	}
}
