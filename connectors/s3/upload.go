package s3

import (
	"context"

	"github.com/minio/minio-go/v7"

	"valence/internal/blob"
)

// A larger object is uploaded in parts of partSize bytes, or of more if there
// would be more than maxParts. Stores accept 10,000.
const (
	partSize = 8 << 20
	maxParts = 9_000
)

// upload writes an object in parts. One part is in memory.
func (c *connection) upload(ctx context.Context, o object, f *blob.File) error {
	content, err := f.Open() // sets f.Size
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = c.store.PutObject(ctx, o.Bucket, o.Key, content, f.Size, minio.PutObjectOptions{
		ContentType: f.MediaType, PartSize: uint64(max(partSize, (f.Size/maxParts/partSize+1)*partSize)), NumThreads: 1, DisableContentSha256: true,
	})
	return err
}
