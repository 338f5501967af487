"""Which fields of which message this servicer models: any other one that a client sets is an error.

A message that is not listed may not be sent at all, and one of `*` is handed on whole, to a container or back to the client.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

MODELLED = {
    name: fields.split()
    for name, fields in {
        # Apps
        "AppCreateRequest": "description environment_name app_state tags",
        "AppGetOrCreateRequest": "app_name environment_name object_creation_type",
        "AppGetByDeploymentNameRequest": "name environment_name",
        "AppGetLayoutRequest": "app_id",
        "AppGetLifecycleRequest": "app_id",
        "AppPublishRequest": "app_id name deployment_tag app_state function_ids class_ids definition_ids commit_info tags",
        "CommitInfo": "*",
        "AppListRequest": "environment_name",
        "AppStopRequest": "app_id source",
        "AppClientDisconnectRequest": "app_id reason exception",
        "AppHeartbeatRequest": "app_id",
        "AppDeploymentHistoryRequest": "app_id",
        "AppGetLogsRequest": "app_id timeout last_entry_id function_id task_id function_call_id file_descriptor",
        "AppFetchLogsRequest": "app_id since until limit source function_id task_id function_call_id search_text",
        "AppCountLogsRequest": "app_id since until bucket_secs source function_id task_id function_call_id search_text",
        "EnvironmentGetOrCreateRequest": "deployment_name object_creation_type",
        "TaskListRequest": "environment_name app_id",
        "TaskGetInfoRequest": "task_id",
        "ContainerStopRequest": "task_id graceful",
        "ObjectSuggestRequest": "environment_name kind query limit",
        # Functions and classes
        "FunctionPrecreateRequest": "app_id function_name existing_function_id function_type webhook_config"
        " method_definitions function_schema supported_input_formats supported_output_formats",
        "FunctionCreateRequest": "function app_id existing_function_id function_data",
        "Function": "module_name function_name implementation_name mount_ids image_id function_serialized definition_type"
        " function_type resources secret_ids webhook_config retry_policy concurrency_limit timeout_secs"
        " startup_timeout_secs task_idle_timeout_secs class_serialized app_name volume_mounts max_concurrent_inputs"
        " target_concurrent_inputs object_dependencies max_inputs single_use_containers scheduler_placement is_class"
        " is_method class_parameter_info method_definitions method_definitions_set autoscaler_settings function_schema"
        " mount_client_dependencies supported_input_formats supported_output_formats"
        " _experimental_concurrent_cancellations",
        "FunctionData": "module_name function_name implementation_name function_type autoscaler_settings concurrency_limit"
        " task_idle_timeout_secs timeout_secs startup_timeout_secs ranked_functions function_schema is_class"
        " method_definitions method_definitions_set supported_input_formats supported_output_formats class_parameter_info",
        "RankedFunction": "rank function",
        "Resources": "memory_mb memory_mb_max milli_cpu milli_cpu_max gpu_config ephemeral_disk_mb",
        "GPUConfig": "count gpu_type",
        "SchedulerPlacement": "regions nonpreemptible",
        "AutoscalerSettings": "max_containers scaledown_window",
        "FunctionRetryPolicy": "backoff_coefficient initial_delay_ms max_delay_ms retries",
        "ObjectDependency": "object_id",
        "VolumeMount": "volume_id mount_path allow_background_commits read_only",
        "WebhookConfig": "type async_mode requires_proxy_auth",
        "MethodDefinition": "function_name function_type function_schema supported_input_formats supported_output_formats",
        "FunctionSchema": "*",
        "ClassParameterInfo": "*",
        "FunctionGetRequest": "app_name object_tag environment_name",
        "FunctionGetByIdRequest": "function_id",
        "FunctionGetCurrentStatsRequest": "function_id",
        "FunctionBindParamsRequest": "function_id serialized_params function_options environment_name",
        "FunctionOptions": "secret_ids resources retry_policy concurrency_limit timeout_secs task_idle_timeout_secs"
        " volume_mounts replace_volume_mounts replace_secret_ids scheduler_placement",
        "ClassCreateRequest": "app_id existing_class_id only_class_function",
        "ClassGetRequest": "app_name object_tag environment_name only_class_function",
        # Calls, from the client's side
        "FunctionMapRequest": "function_id parent_input_id return_exceptions function_call_type pipelined_inputs"
        " function_call_invocation_type",
        "FunctionPutInputsItem": "idx input blob_upload_results",
        "BlobUploadResult": "*",
        "FunctionInput": "args args_blob_id data_format method_name",
        "FunctionPutInputsRequest": "function_id function_call_id inputs",
        "FunctionFinishInputsRequest": "function_id function_call_id num_inputs",
        "FunctionRetryInputsRequest": "function_call_jwt inputs",
        "FunctionRetryInputsItem": "input_jwt input retry_count",
        "FunctionGetOutputsRequest": "function_call_id timeout last_entry_id clear_on_success requested_at input_jwts"
        " start_idx end_idx",
        "FunctionCallCancelRequest": "function_call_id terminate_containers",
        "FunctionCallFromIdRequest": "function_call_id",
        "FunctionCallGetDataRequest": "function_call_id last_index",
        # Calls, from the container's side
        "ContainerHeartbeatRequest": "canceled_inputs_return_outputs_v2",
        "FunctionGetInputsRequest": "function_id input_concurrency",
        "FunctionPutOutputsRequest": "outputs",
        "FunctionPutOutputsItem": "input_id result input_started_at output_created_at data_format retry_count",
        "GenericResult": "status exception traceback serialized_tb tb_line_cache data data_blob_id",
        "FunctionCallPutDataRequest": "function_call_id data_chunks",
        "DataChunk": "data_format data data_blob_id index",
        "TaskResultRequest": "result",
        # Files, images, secrets, volumes
        "BlobCreateRequest": "content_md5 content_sha256_base64 content_length",
        "BlobGetRequest": "blob_id",
        "MountBatchedCheckExistenceRequest": "sha256_hex_hashes",
        "MountPutFileRequest": "sha256_hex data data_blob_id",
        "MountGetOrCreateRequest": "deployment_name namespace environment_name object_creation_type files app_id",
        "MountFile": "filename sha256_hex mode",
        "ImageGetOrCreateRequest": "image app_id force_build namespace builder_version ignore_cache",
        "Image": "base_images dockerfile_commands context_files secret_ids context_mount_id gpu_config"
        " image_registry_config build_args",
        "ImageRegistryConfig": "",
        "BaseImage": "docker_tag image_id",
        "ImageContextFile": "filename data",
        "ImageJoinStreamingRequest": "image_id timeout last_entry_id",
        "SecretGetOrCreateRequest": "deployment_name environment_name object_creation_type env_dict app_id required_keys",
        "SecretGetInfoRequest": "secret_id",
        "SecretListRequest": "environment_name pagination",
        "SecretDeleteRequest": "secret_id",
        "ListPagination": "max_objects created_before",
        "VolumeGetOrCreateRequest": "deployment_name environment_name object_creation_type version create_options",
        "VolumeCreateOptions": "",
        "VolumeGetByIdRequest": "volume_id",
        "VolumeListRequest": "environment_name pagination",
        "VolumeDeleteRequest": "volume_id",
        "VolumeCommitRequest": "volume_id",
        "VolumeReloadRequest": "volume_id",
        "VolumePutFiles2Request": "volume_id files disallow_overwrite_existing_files",
        "File": "path size mode blocks",
        "Block": "contents_sha256 put_response",
        "VolumeListFiles2Request": "volume_id path recursive",
        "VolumeGetFile2Request": "volume_id path start len client_pads_blocks",
        "VolumeRemoveFile2Request": "volume_id path recursive",
        "VolumeCopyFiles2Request": "volume_id src_paths dst_path recursive",
        # Money
        "WorkspaceBillingRatesRequest": "",
        "WorkspaceBillingReportRequest": "start_timestamp end_timestamp resolution tag_names",
        "Empty": "",
        "Timestamp": "*",
    }.items()
}


def unmodelled(message: Message) -> Iterator[str]:
    """Every field that is set in the message, at any depth, and that the servicer does not read."""
    name = message.DESCRIPTOR.name
    known = MODELLED.get(name)
    if known is None:
        yield f"message {name}"
        return
    if known == ["*"]:
        return
    for number in UnknownFieldSet(message):
        yield f"{name}, field number {number.field_number}, which this version of modal_proto does not know"
    for field, value in message.ListFields():
        if field.name not in known:
            yield f"{name}.{field.name}"
            continue
        for one in _messages(value):
            yield from unmodelled(one)


def _messages(value: Any) -> list[Message]:
    if isinstance(value, Message):
        return [value]
    if hasattr(value, "values"):  # a map
        return [one for one in value.values() if isinstance(one, Message)]
    return [one for one in value if isinstance(one, Message)] if hasattr(value, "add") else []
