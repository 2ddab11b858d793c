"""What the name of a model tells without the model."""

from kpod_ray.models.names import without_folders


def test_what_is_published_of_a_name_holds_no_folder_and_no_key():
    published = {
        "/home/me/models/mine": "mine",
        "/home/me/models/mine/": "mine",
        "~/mine": "mine",
        "s3://bucket/models/mine?region=eu&access_key=A&secret_key=S": "mine",
        "s3://A:S@bucket/models/mine/#S": "mine",
        "s3://A:S@bucket?secret_key=S": "bucket",
        "owner/model": "owner/model",
        "tiny:0": "tiny:0",
    }
    assert {name: without_folders(name) for name in published} == published
